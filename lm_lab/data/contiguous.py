"""Batches whose rows read on: row b of every batch has a part of the text of its own, window after
window, as truncated back-propagation with a carried state wants it.

The parts follow each other in the text, and are of equal length. At the end of its part a row
begins it anew: that is an epoch. There is no order to draw.
"""

from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data.gathering import in_order, places_of, sized, windows, windows_of_all
from lm_lab.types import Examples, UserError

AT_ONCE = 2**24  # tokens that are searched for ends of documents in one go


class ContiguousBatches(NamedTuple):
    """Batches by step, without end; `begins` is true where a row begins its part.

    Documents that are segments are numbered from 1 through the whole text, so that one that goes
    on in the next window has the same number there.
    """

    tokens: np.ndarray  # of the side
    bytes_of: np.ndarray  # f32[vocab]
    ends: np.ndarray | None  # i64[n]: where documents end; None: they are no segments
    window: int
    stride: int
    steps_per_epoch: int  # windows of a part
    own_rows: int  # of a batch, on this host
    first_row: int
    batch_size: int

    @property
    def epoch_rows(self) -> int:
        """Windows in an epoch."""
        return self.steps_per_epoch * self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step, on the host: tokens, bytes and segments [B S], begins [B]."""
        return jax.tree.map(lambda part: part[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked [steps B ...]. Row i is `at(first_step + i)`."""
        places = places_of(first_step, steps, self.batch_size, self.first_row, self.own_rows)
        rows = sized(self.rows(places.ravel()), self.bytes_of)
        return jax.tree.map(lambda leaf: leaf.reshape(*places.shape, *leaf.shape[1:]), rows)

    def rows(self, places: np.ndarray) -> Examples:
        """The windows at these places [n] of the endless order, to train on: [n ...], without
        bytes.
        """
        starts, begins = self._places(places, self.steps_per_epoch)
        tokens = windows(self.tokens, starts, self.window)
        return Examples(tokens, None, self._segments(starts), begins=begins)  # type: ignore[arg-type]

    def every_row(self) -> int:
        """How many windows the text has with the last one, which it may not fill."""
        return windows_of_all(len(self.tokens), self.window, self.stride)

    def once(self, first: int, rows: int) -> Examples:
        """The whole text in batches whose rows read on, from the first-th row on [rows ...];
        segment 0 is behind the end of the text.
        """
        epoch_part = -(-self.every_row() // self.batch_size)
        starts, begins = self._places(first + np.arange(rows), epoch_part)
        tokens, is_token = in_order(self.tokens, starts, self.window)
        segments = self._segments(starts)
        segments = np.where(is_token, 1 if segments is None else segments, 0).astype(np.int32)
        return sized(Examples(tokens, None, segments, begins=begins), self.bytes_of)  # type: ignore[arg-type]

    def _places(self, places: np.ndarray, part: int) -> tuple[np.ndarray, np.ndarray]:
        """(first tokens, whether a part begins there) of places, where a part has `part`
        windows.
        """
        steps, rows = np.divmod(places, self.batch_size)
        return (rows * part + steps % part) * self.stride, steps % part == 0

    def _segments(self, starts: np.ndarray) -> np.ndarray | None:
        """The number of the document of each token; end_of_document belongs to what it ends."""
        if self.ends is None:
            return None
        places = starts[:, None] + np.arange(self.window)
        return (1 + np.searchsorted(self.ends, places)).astype(np.int32)


def contiguous_batches(
    tokens: np.ndarray,
    bytes_of: np.ndarray,
    end_of_document: int | None,
    *,
    window: int,
    stride: int,
    windows: int,
    batch_size: int,
    host_index: int = 0,
    host_count: int = 1,
) -> ContiguousBatches:
    """Batches of a stream that fills so many windows, which begin every `stride` tokens; this host
    gets its batch_size / host_count rows of each. Documents that end_of_document ends are segments;
    None: they are none. Windows that give no row a further one, fewer than batch_size, are left
    out.
    """
    rows = own_rows(batch_size, host_count)
    ends = None if end_of_document is None else ends_of(tokens, end_of_document)
    steps, first = windows // batch_size, host_index * rows
    return ContiguousBatches(tokens, bytes_of, ends, window, stride, steps, rows, first, batch_size)


def own_rows(batch_size: int, host_count: int) -> int:
    """The rows of a batch on one host. Raises UserError where they do not divide."""
    if batch_size % host_count:
        raise UserError(
            f"config.train.batch_size: {batch_size} rows do not divide among {host_count} "
            "hosts; change it"
        )
    return batch_size // host_count


def ends_of(tokens: np.ndarray, end_of_document: int) -> np.ndarray:
    """The places of this id, i64[n], found block by block."""
    blocks = range(0, len(tokens), AT_ONCE)
    matches = [
        start + np.flatnonzero(tokens[start : start + AT_ONCE] == end_of_document)
        for start in blocks
    ]
    return np.concatenate([np.empty(0, np.int64), *matches])
