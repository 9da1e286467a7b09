"""Plans rows of documents of a stream, and cuts none that fits into a row (best fit, 2404.10830).

A document that is longer than a row is cut into windows first, which overlap as those of a stream
do; its last part is packed like a short document. The plan is a function of the lengths alone, and
is kept beside the token store:

<cache>/<key>.fit-<window>-<stride>    i64[n] (data/kept.py): the row of each part
"""

import bisect
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lm_lab.data.contiguous import ends_of
from lm_lab.data.gathering import ranges, rows_of
from lm_lab.data.kept import kept


class Plan(NamedTuple):
    """Which parts of documents are in which row: the parts of a row stand one after another."""

    starts: np.ndarray  # i64[n]: the first token of each part
    sizes: np.ndarray  # i64[n]: its tokens
    rows: np.ndarray  # i64[rows + 1]: the first part of each row, and their number

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.rows) - 1

    def gather(
        self, tokens: np.ndarray, window: int, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, segments) i32[n window] of the rows with these numbers [n]: the parts of each,
        which are segments 1, 2, ..., and then padding, which is 0 in both.
        """
        firsts = self.rows[numbers]
        counts = self.rows[numbers + 1] - firsts + 1  # with the padding
        padding = np.cumsum(counts) - 1
        part_numbers, ordinals = ranges(firsts, counts), ranges(np.ones_like(counts), counts)
        part_numbers[padding], ordinals[padding] = 0, 0
        sizes = self.sizes[part_numbers]
        sizes[padding] = 0
        sizes[padding] = window - np.diff(np.cumsum(sizes)[padding], prepend=0)
        return rows_of(tokens, self.starts[part_numbers], sizes, ordinals, window)


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
    """The row of each part i64[n], by sizes [n] of at least 1: the longest first, each into the
    fullest row with room for it, the newest of several such rows.

    Parts of one size are placed together: a row that takes one takes as many as it has room for,
    because with one of them in it, it is the fullest.
    """
    row_of = np.empty(len(sizes), np.int64)
    rooms: list[int] = []  # the different amounts of room left in rows, ascending
    rows_by_room: dict[int, list[np.ndarray]] = {}  # in the order in which they came, in pieces

    def leave(room: int, rows: np.ndarray) -> None:
        if not room or not len(rows):
            return
        if room not in rows_by_room:
            bisect.insort(rooms, room)
        rows_by_room.setdefault(room, []).append(rows)

    order = np.argsort((window - sizes).astype(np.min_scalar_type(window)), kind="stable")
    counts, begun, made = np.bincount(sizes), 0, 0
    for size in np.flatnonzero(counts)[::-1].tolist():
        end = begun + int(counts[size])
        while begun < end:
            place = bisect.bisect_left(rooms, size)
            room = rooms[place] if place < len(rooms) else window
            each = room // size
            needed = -(-(end - begun) // each)
            if place < len(rooms):
                rows = _take_newest(rows_by_room[room], needed)
                if not rows_by_room[room]:
                    del rooms[place], rows_by_room[room]
            else:
                rows = np.arange(made, made + needed)
                made += needed
            stop = min(end, begun + each * len(rows))
            row_of[order[begun:stop]] = np.repeat(rows, each)[: stop - begun]
            in_last = stop - begun - each * (len(rows) - 1)
            leave(room - each * size, rows[:-1])
            leave(room - in_last * size, rows[-1:])
            begun = stop
    return row_of


def _take_newest(pieces: list[np.ndarray], most: int) -> np.ndarray:
    """Takes up to so many rows off the end of their pieces; the newest comes first."""
    taken = []
    while pieces and most:
        newest = pieces.pop()
        kept = max(0, len(newest) - most)
        if kept:
            pieces.append(newest[:kept])
        taken.append(newest[kept:][::-1])
        most -= len(taken[-1])
    return np.concatenate(taken)
