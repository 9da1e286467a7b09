"""Batches of rows into which documents of a stream are packed by best fit (data/best_fit.py)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data.gathering import sized
from lm_lab.data.orders import Order, endless
from lm_lab.data.packed_rows import packed_rows
from lm_lab.types import Examples, UserError


class PackedBatches(NamedTuple):
    """Batches by step, without end: every row once an epoch, each epoch in an order of its own.

    Documents that share a row are segments 1, 2, ...; 0 is padding.
    """

    gather: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # data/packed_rows.py
    bytes_of: np.ndarray  # f32[vocab]
    epoch_rows: int  # rows in an epoch
    batch_size: int
    order: Order

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self.epoch_rows // self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step, on the host: tokens, bytes and segments [B S]."""
        return jax.tree.map(lambda part: part[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batches of `steps` steps, stacked [steps B S]."""
        first = first_step * self.batch_size
        rows = sized(self.rows(np.arange(first, first + steps * self.batch_size)), self.bytes_of)
        return jax.tree.map(lambda leaf: leaf.reshape(steps, self.batch_size, -1), rows)

    def rows(self, places: np.ndarray) -> Examples:
        """The rows at these places [n] of the endless order, to train on: [n S], without bytes."""
        return self._examples(self.order.at(places))

    def every_row(self) -> int:
        """How many rows there are."""
        return self.epoch_rows

    def once(self, first: int, rows: int) -> Examples:
        """Rows in order, from the first-th on [rows S]; rows beyond the last are empty."""
        numbers = np.arange(first, min(first + rows, self.epoch_rows))
        padding = ((0, rows - len(numbers)), (0, 0))
        rows_in_order = sized(self._examples(numbers), self.bytes_of)
        return jax.tree.map(lambda leaf: np.pad(leaf, padding), rows_in_order)

    def _examples(self, numbers: np.ndarray) -> Examples:
        tokens, segments = self.gather(numbers)
        return Examples(tokens, None, segments)  # type: ignore[arg-type]


def packed_batches(
    tokens: np.ndarray,
    bytes_of: np.ndarray,
    end_of_document: int,
    *,
    store: Path,
    window: int,
    stride: int,
    batch_size: int,
    least: int,
    seed: int,
) -> PackedBatches:
    """Shuffled batches of a stream's documents; says on stderr how full the rows are.

    Raises UserError for fewer rows than `least`.
    """
    packed = packed_rows(tokens, end_of_document, store, window, stride)
    if packed.rows < least:
        raise UserError(
            f"config.train.batch_size: a batch needs {least} rows, and the documents fill "
            f"{packed.rows}; lower it, or give more text"
        )
    share = f"{100 * packed.filled / max(1, packed.rows * window):.2f} %"
    print(
        f"Documents fill {share} of {packed.rows} rows of {window} tokens (config.data.packing)",
        file=sys.stderr,
        flush=True,
    )
    order = endless(packed.rows, seed)
    return PackedBatches(packed.gather, bytes_of, packed.rows, batch_size, order)
