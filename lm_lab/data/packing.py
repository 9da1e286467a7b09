"""Packs documents of a stream into rows, and cuts none that fits into a row (best fit, 2404.10830).

A document that is longer than a row is cut into windows first, which overlap as those of a stream
do; its last part is packed like a short document. The plan is a function of the lengths alone, and
is kept beside the token store:

<cache>/<key>.fit-<window>-<stride>    i64[n] (data/kept.py): the row of each part
"""

import bisect
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data.contiguous import ends_of
from lm_lab.data.gathering import ranges, rows_of, sized
from lm_lab.data.kept import kept
from lm_lab.data.orders import Order, endless
from lm_lab.types import Examples, UserError


class Plan(NamedTuple):
    """Which parts of documents are in which row: the parts of a row stand one after another."""

    starts: np.ndarray  # i64[n]: the first token of each part
    sizes: np.ndarray  # i64[n]: its tokens
    rows: np.ndarray  # i64[rows + 1]: the first part of each row, and their number

    def efficiency(self, window: int) -> float:
        """The share of tokens that are not padding."""
        return float(self.sizes.sum()) / max(1, (len(self.rows) - 1) * window)


class PackedBatches(NamedTuple):
    """Batches by step, without end: every row once an epoch, each epoch in an order of its own.

    Documents that share a row are segments 1, 2, ...; 0 is padding.
    """

    tokens: np.ndarray  # of the split
    bytes_of: np.ndarray  # f32[vocab]
    plan: Plan
    window: int
    batch_size: int
    order: Order

    @property
    def epoch_rows(self) -> int:
        """Rows in an epoch."""
        return len(self.plan.rows) - 1

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
        return self._gather(self.order.at(places))

    def every_row(self) -> int:
        """How many rows there are."""
        return self.epoch_rows

    def once(self, first: int, rows: int) -> Examples:
        """Rows in order, from the first-th on [rows S]; rows beyond the last are empty."""
        numbers = np.arange(first, min(first + rows, self.epoch_rows))
        padding = ((0, rows - len(numbers)), (0, 0))
        rows_in_order = sized(self._gather(numbers), self.bytes_of)
        return jax.tree.map(lambda leaf: np.pad(leaf, padding), rows_in_order)

    def _gather(self, numbers: np.ndarray) -> Examples:
        """The rows with these numbers [n]: [n S], the parts of each and then padding."""
        firsts = self.plan.rows[numbers]
        counts = self.plan.rows[numbers + 1] - firsts + 1  # with the padding
        padding = np.cumsum(counts) - 1
        part_numbers, ordinals = ranges(firsts, counts), ranges(np.ones_like(counts), counts)
        part_numbers[padding], ordinals[padding] = 0, 0
        sizes = self.plan.sizes[part_numbers]
        sizes[padding] = 0
        sizes[padding] = self.window - np.diff(np.cumsum(sizes)[padding], prepend=0)
        starts = self.plan.starts[part_numbers]
        tokens, segments = rows_of(self.tokens, starts, sizes, ordinals, self.window)
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
    plan = kept_plan(tokens, end_of_document, store, window, stride)
    rows = len(plan.rows) - 1
    if rows < least:
        raise UserError(
            f"config.train.batch_size: a batch needs {least} rows, and the documents fill {rows}; "
            "lower it, or give more text"
        )
    share = f"{100 * plan.efficiency(window):.2f} %"
    print(
        f"Documents fill {share} of {rows} rows of {window} tokens (config.data.packing)",
        file=sys.stderr,
        flush=True,
    )
    return PackedBatches(tokens, bytes_of, plan, window, batch_size, endless(rows, seed))


def kept_plan(
    tokens: np.ndarray, end_of_document: int, store: Path, window: int, stride: int
) -> Plan:
    """The plan that is kept beside the store; it is made first if it is missing or damaged."""
    starts, sizes = parts_of(tokens, end_of_document, window, stride)
    path = store.with_name(f"{store.name}.fit-{window}-{stride}")
    row_of = kept(path, "<i8", len(starts), partial(best_fit, sizes, window))
    order = np.argsort(row_of, kind="stable")
    counts = np.bincount(row_of)
    return Plan(starts[order], sizes[order], np.concatenate([[0], np.cumsum(counts)]))


def parts_of(
    tokens: np.ndarray, end_of_document: int, window: int, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """(first token i64[n], number of tokens i64[n]) of the parts of all documents: windows that
    begin every `stride` tokens, the last one shorter.
    """
    stops = ends_of(tokens, end_of_document) + 1
    if len(tokens) and (not len(stops) or stops[-1] < len(tokens)):
        stops = np.append(stops, len(tokens))  # a text whose end is held out ends within a document
    starts = np.concatenate([[0], stops[:-1]])[: len(stops)]
    counts = np.maximum(1, 1 + -(-(stops - starts - window) // stride))
    first = np.repeat(starts, counts) + stride * ranges(np.zeros_like(counts), counts)
    return first, np.minimum(np.repeat(stops, counts) - first, window)


def best_fit(sizes: np.ndarray, window: int) -> np.ndarray:
    """The row of each part i64[n], by sizes [n]: the longest first, each into the fullest row with
    room for it.
    """
    row_of = np.empty(len(sizes), np.int64)
    rooms: list[int] = []  # the different amounts of room left in rows, ascending
    rows_by_room: dict[int, list[int]] = {}
    count = 0
    order = np.argsort(-sizes, kind="stable")
    for part, size in zip(order.tolist(), sizes[order].tolist()):
        place = bisect.bisect_left(rooms, size)
        if place == len(rooms):
            row, left = count, window - size
            count += 1
        else:
            room = rooms[place]
            row, left = rows_by_room[room].pop(), room - size
            if not rows_by_room[room]:
                del rooms[place], rows_by_room[room]
        row_of[part] = row
        if left in rows_by_room:
            rows_by_room[left].append(row)
        elif left:
            bisect.insort(rooms, left)
            rows_by_room[left] = [row]
    return row_of
