"""Rows of a batch out of a memory map, without a loop over rows: some at a time, so that temporary
arrays fit into the processor's cache.

Rows to train on have no byte counts: those follow from the tokens, and the train program looks them
up on its device (`lm_lab.train.checked`). On the host that takes four times as long as the rows.
"""

from collections.abc import Iterator

import numpy as np

from lm_lab.types import Examples

AT_ONCE = 2**16  # tokens that are gathered in one go


def parts(rows: int, width: int) -> Iterator[slice]:
    """Slices of so many rows [width], each of AT_ONCE tokens or one row."""
    count = max(1, AT_ONCE // max(width, 1))
    return (slice(first, first + count) for first in range(0, rows, count))


def windows(tokens: np.ndarray, firsts: np.ndarray, window: int) -> np.ndarray:
    """The windows that begin at the tokens `firsts` [n]: i32[n S]."""
    every = _every(tokens, window)
    ids = np.empty((len(firsts), window), np.int32)
    for rows in parts(len(firsts), window):
        ids[rows] = every[firsts[rows]]
    return ids


def table_rows(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The rows of a contiguous table [rows S] with these numbers [n]: i32[n S]."""
    ids = np.empty((len(numbers), table.shape[1]), np.int32)
    for rows in parts(*ids.shape):
        ids[rows] = table.take(numbers[rows], 0)
    return ids


def sized(examples: Examples, bytes_of: np.ndarray) -> Examples:
    """Rows with the bytes that their tokens stand for, by the table f32[vocab]; padding has 0."""
    tokens, segments = examples.tokens, examples.segments
    bytes_ = np.empty(tokens.shape, np.float32)
    for rows in parts(len(tokens), tokens.shape[1]):
        bytes_[rows] = bytes_of.take(tokens[rows])
        if segments is not None:
            bytes_[rows] *= segments[rows] > 0
    return examples._replace(bytes=bytes_)  # type: ignore[arg-type]


def in_order(tokens: np.ndarray, starts: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """(tokens i32[n S], which are there bool[n S]) of the windows that begin at the tokens `starts`
    [n]; 0 stands beyond the end of the text.
    """
    indices = starts[:, None] + np.arange(window)
    is_token = indices < len(tokens)
    window_tokens = np.where(is_token, tokens[np.minimum(indices, len(tokens) - 1)], 0)
    return window_tokens.astype(np.int32), is_token


def windows_of_all(tokens: int, window: int, stride: int) -> int:
    """How many windows a text of so many tokens has, with a last one that it may not fill."""
    return max(1, -(-(tokens - (window - stride)) // stride))


def places_of(
    first_step: int, steps: int, batch_size: int, first_row: int, rows: int
) -> np.ndarray:
    """The places i64[steps, rows] in the endless order of what a host reads, which has `rows` rows
    of each batch from `first_row` on.
    """
    firsts = np.arange(first_step, first_step + steps) * batch_size + first_row
    return firsts[:, None] + np.arange(rows)


def rows_of(
    tokens: np.ndarray, starts: np.ndarray, sizes: np.ndarray, ordinals: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, segments) i32[n length] of rows that are ranges of tokens, one after another.

    Each range [m] has its first token, its size and its segment; the sizes of a row add up to
    `length`. A range of segment 0 is padding: its tokens are 0, wherever it starts.
    """
    real = np.flatnonzero((ordinals > 0) & (sizes > 0))
    places = np.cumsum(sizes) - sizes
    row_tokens = np.zeros(int(sizes.sum()), tokens.dtype)
    _copy(tokens, starts[real], row_tokens, places[real], sizes[real])
    segments = np.repeat(ordinals.astype(np.int32), sizes)
    return row_tokens.astype(np.int32).reshape(-1, length), segments.reshape(-1, length)


def _copy(
    source: np.ndarray,
    starts: np.ndarray,
    target: np.ndarray,
    places: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Copies ranges of an array, by first element and size [m], to places [m] of another.

    A range is two blocks of the largest power of two that fits into it, which may overlap. So all
    ranges of such a size are copied at once, and no index of a single element is made.
    """
    exponents = np.frexp(sizes)[1] - 1
    for exponent in np.unique(exponents).tolist():
        block, own = 2**exponent, np.flatnonzero(exponents == exponent)
        first, place, second = starts[own], places[own], sizes[own] - block
        read = np.concatenate([first, first + second])
        written = np.concatenate([place, place + second])
        _every(target, block)[written] = _every(source, block)[read]


def _every(array: np.ndarray, width: int) -> np.ndarray:
    """All windows [n width] of a contiguous array, as a view. It is numpy's `sliding_window_view`,
    which takes 20 µs, in 1.
    """
    shape = max(0, len(array) - width + 1), width
    return np.ndarray(shape, array.dtype, array, strides=2 * array.strides)


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of every start [n], as many as its count [n], one after another."""
    stops = np.cumsum(counts)
    total = int(stops[-1]) if len(stops) else 0
    return np.repeat(starts - (stops - counts), counts) + np.arange(total)
