"""Batches of records (pairs of texts, texts with labels, or preferences) as a pure function of the
step.

A preference is two texts with labels that stand side by side in a row: the prompt with the chosen
answer, labelled 1, and the prompt with the rejected one, labelled 0.
"""

import sys
from typing import Literal, NamedTuple

import jax
import numpy as np

from lm_lab.data.gathering import rows_of, sized
from lm_lab.data.orders import Order, endless
from lm_lab.types import ANSWERS, Examples, UserError

TooLong = Literal["refuse", "drop"]

OPEN = 64  # packing: rows that may still receive a record
TEXTS = 16  # packing: texts with labels that share a row, at most, so that a batch has one shape


class Records(NamedTuple):
    """Where the records of a split lie in its tokens; end_of_document ends each text and target."""

    # i64[records, 3]: the first token, the first of the target (without one: the end), the end; of
    # preferences i64[records, 4]: the first of the prompt, of the chosen answer, of the rejected
    # one, the end
    offsets: np.ndarray
    labels: np.ndarray | None  # f32[records]
    # f32[records, 2]: of preferences, what an objective compares each answer with; None: nothing
    reference: np.ndarray | None = None

    @property
    def are_preferences(self) -> bool:
        """Whether a record has two answers."""
        return self.offsets.shape[1] > 3

    def sizes(self) -> dict[str, np.ndarray]:
        """The tokens i64[records] that each record needs of a row, by the setting that limits
        them.
        """
        first, middle, end = self.offsets[:, 0], self.offsets[:, 1], self.offsets[:, -1]
        if self.are_preferences:
            return {"length": end - first + middle - first}  # the prompt twice
        if (middle < end).any():
            return {"length": end - middle, "context_length": middle - first}
        return {"length": end - first}


class RecordBatches(NamedTuple):
    """Batches by step, without end: every record that fits once an epoch, shuffled for each epoch.

    Packed records share their row in every epoch, as segments 1, 2, ...
    """

    tokens: np.ndarray  # of the split
    bytes_of: np.ndarray  # f32[vocab]
    records: Records
    # i64[n, P]: the numbers of the records in each row, and -1 where it has no more
    members: np.ndarray
    length: int  # of a row of text or target
    context_length: int | None  # of a row of sources; None where no record has a target
    batch_size: int
    order: Order

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return len(self.members) // self.batch_size

    def at(self, step: int) -> Examples:
        """The batch of a step, on the host: tokens, bytes and segments [B
        S]; context [B M] or labels [B], of packed rows and of preferences [B P].
        """
        return jax.tree.map(lambda part: part[0], self.chunk(step, 1))

    def chunk(self, first_step: int, steps: int) -> Examples:
        """The batch of a step, on the host: tokens, bytes, segments [B S], and context or labels.

        The context is [B M], labels are [B], of packed rows and of preferences [B P].
        """
        first = first_step * self.batch_size
        rows = sized(self.rows(np.arange(first, first + steps * self.batch_size)), self.bytes_of)
        return jax.tree.map(
            lambda leaf: leaf.reshape(steps, self.batch_size, *leaf.shape[1:]), rows
        )

    @property
    def epoch_rows(self) -> int:
        """Rows in an epoch."""
        return len(self.members)

    def rows(self, places: np.ndarray) -> Examples:
        """The rows at these places [n] of the endless order, to train on: [n ...], without
        bytes.
        """
        return self._gather(self.members[self.order.at(places)])

    def every_row(self) -> int:
        """How many rows there are."""
        return len(self.members)

    def once(self, first: int, rows: int) -> Examples:
        """Rows in order, from the first-th on [rows ...]; rows beyond the last are empty."""
        rows_of_records = self.members[first : first + rows]
        padding = ((0, rows - len(rows_of_records)), (0, 0))
        numbers = np.pad(rows_of_records, padding, constant_values=-1)
        return sized(self._gather(numbers), self.bytes_of)

    def _gather(self, numbers: np.ndarray) -> Examples:
        """The records with these numbers [n P], packed [n ...]; -1 is none."""
        if self.records.are_preferences:
            return self._preferences(numbers)
        index = np.where(numbers[..., None] < 0, 0, self.records.offsets[numbers])
        first, middle, end = np.moveaxis(index, -1, 0)
        labels = self.records.labels
        if self.context_length is None:
            text, segments = self._rows(first, end, self.length)
            chosen = None
            if labels is not None:
                chosen = np.where(numbers < 0, 0, labels[numbers]).astype(np.float32)
                chosen = chosen if numbers.shape[-1] > 1 else chosen[..., 0]
            return Examples(text, None, segments, labels=chosen)  # type: ignore[arg-type]
        context, context_segments = self._rows(first, middle, self.context_length)
        target, segments = self._rows(middle, end, self.length)
        return Examples(target, None, segments, context, context_segments)  # type: ignore[arg-type]

    def _preferences(self, numbers: np.ndarray) -> Examples:
        """The preferences with these numbers [n P], packed [n ...]: the p-th is the segments
        2 p + 1, with the chosen answer, and 2 p + 2.
        """
        index = np.where(numbers[..., None] < 0, 0, self.records.offsets[numbers])
        prompt, chosen, rejected, end = np.moveaxis(index, -1, 0)
        starts = np.stack([prompt, chosen, prompt, rejected], axis=-1)  # [n P 4]
        stops = np.stack([chosen, rejected, chosen, end], axis=-1)
        ordinals = 1 + np.arange(numbers.shape[1])[:, None] * ANSWERS + [0, 0, 1, 1]
        flat = (len(numbers), -1)
        parts = starts.reshape(flat), stops.reshape(flat), ordinals.ravel()
        tokens, segments = self._ranges(*parts, self.length)
        is_there = numbers[..., None] >= 0
        labels = np.where(is_there, np.array([1, 0], np.float32), 0).reshape(flat)
        reference = self.records.reference
        if reference is not None:
            reference = np.where(is_there, reference[numbers], 0).reshape(flat)
        return Examples(tokens, None, segments, labels=labels, reference=reference)  # type: ignore[arg-type]

    def _rows(
        self, first: np.ndarray, end: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, segments from 1) i32[n length] of the tokens from first to end [n P], each of
        them a segment.
        """
        return self._ranges(first, end, np.arange(1, first.shape[1] + 1), length)

    def _ranges(
        self, first: np.ndarray, end: np.ndarray, ordinals: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, segments) i32[n length] of the tokens from first to end [n R], which belong to
        the segments `ordinals` [R]. Both are 0 after the last range.
        """
        sizes = np.pad(end - first, ((0, 0), (0, 1)))
        sizes[:, -1] = length - sizes.sum(-1)  # padding
        starts = np.pad(first, ((0, 0), (0, 1)))
        row_ordinals = np.tile(np.append(ordinals, 0), len(sizes))
        return rows_of(self.tokens, starts.ravel(), sizes.ravel(), row_ordinals, length)


def record_batches(
    tokens: np.ndarray,
    bytes_of: np.ndarray,
    records: Records,
    *,
    side: str,
    length: int,
    context_length: int,
    too_long: TooLong,
    pack: bool,
    batch_size: int,
    seed: int | None,
    least: int,
) -> RecordBatches:
    """Shuffled batches of the records of a split; `pack` puts several into a row.

    Raises UserError for records that do not fit, unless they are to be dropped (their number goes
    to stderr), and if fewer rows than `least` remain to train on.
    """
    sizes = records.sizes()
    allowed = {"length": length, "context_length": context_length}
    fits = np.ones(len(records.offsets), bool)
    for name, tokens_of_records in sizes.items():
        over = int((tokens_of_records > allowed[name]).sum())
        if over and too_long == "refuse":
            dropping = " or set config.data.too_long='drop'" if side == "train" else ""
            raise UserError(
                f"config.data.{name}: {over} of {len(fits)} {side} records have more than "
                f"{allowed[name]} tokens, the longest {tokens_of_records.max()}; raise it{dropping}"
            )
        fits &= tokens_of_records <= allowed[name]
    numbers = np.flatnonzero(fits)
    texts_per_row = None if records.labels is None else TEXTS
    texts_per_row = TEXTS // ANSWERS if records.are_preferences else texts_per_row
    rows = _packed_rows(numbers, sizes, allowed, texts_per_row) if pack else numbers[:, None]
    if len(rows) < least and seed is not None:
        unit = "packed rows" if pack else "records"
        raise UserError(
            f"config.train.batch_size: a batch needs {least} {unit}, and the {side} side has "
            f"{len(rows)} that fit; lower it, or give more data"
        )
    if len(numbers) < len(fits):
        left_out = len(fits) - len(numbers)
        print(
            f"{left_out} of {len(fits)} {side} records are too long, and left out",
            file=sys.stderr,
            flush=True,
        )
    if pack:
        _say_how_full(sizes, numbers, allowed, len(rows))
    context = context_length if "context_length" in sizes else None
    return RecordBatches(
        tokens, bytes_of, records, rows, length, context, batch_size, endless(len(rows), seed)
    )


def _packed_rows(
    numbers: np.ndarray, sizes: dict[str, np.ndarray], allowed: dict[str, int], most: int | None
) -> np.ndarray:
    """Packs the records with these numbers, `most` of them in a row, which then has places for so
    many.
    """
    used = np.stack([tokens_of_records[numbers] for tokens_of_records in sizes.values()], axis=1)
    rooms = np.array([allowed[name] for name in sizes])
    if most is None:
        rows = packed(numbers, used, rooms)
    else:  # a record takes one of the places
        rows = packed(
            numbers, np.pad(used, ((0, 0), (0, 1)), constant_values=1), np.append(rooms, most)
        )
        rows = np.pad(rows, ((0, 0), (0, most - rows.shape[1])), constant_values=-1)
    return rows


def _say_how_full(
    sizes: dict[str, np.ndarray], numbers: np.ndarray, allowed: dict[str, int], rows: int
) -> None:
    """Says on stderr how full the rows are into which the records with these numbers are packed."""
    shares = [
        100 * tokens_of_records[numbers].sum() / (allowed[name] * max(rows, 1))
        for name, tokens_of_records in sizes.items()
    ]
    names = ("targets", "sources") if len(sizes) > 1 else ("tokens",)
    filled = " and ".join(f"{share:.2f} % of {name}" for share, name in zip(shares, names))
    print(f"Records fill {filled} in {rows} rows (config.data.pack)", file=sys.stderr, flush=True)


def packed(numbers: np.ndarray, sizes: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Packs the numbers [m] into rows i64[n P], followed by -1, by their sizes [m sides].

    A row has `room` [sides] tokens. Each number goes, in a fixed random order, to the first row
    with room for it. Only the newest rows are considered, so that the time is linear in m.
    """
    rows: list[list[int]] = []
    left = np.empty((0, len(room)), np.int64)  # room left in the newest rows
    for place in np.random.default_rng(0).permutation(len(numbers)):
        fits = np.flatnonzero((left >= sizes[place]).all(-1))
        if len(fits):
            row = int(fits[0])
        else:
            left = np.concatenate([left[-OPEN + 1 :], room[None]])
            rows.append([])
            row = len(left) - 1
        left[row] -= sizes[place]
        rows[row - len(left)].append(int(numbers[place]))
    table = np.full((len(rows), max(map(len, rows), default=1)), -1)
    for row, members in enumerate(rows):
        table[row, : len(members)] = members
    return table
