"""Rows of a batch out of a memory map, without a loop over rows: some at a time, so that temporary
arrays fit into the processor's cache.
"""

from collections.abc import Iterator

import numpy as np

# Tokens that are gathered in one go. Rows of 1,025 tokens, best fit, in ns a token: 18 with 2**13,
# 11 with 2**15, 10 with 2**16 and 9 with all of 2**18.
AT_ONCE = 2**16


def parts(rows: int, width: int) -> Iterator[slice]:
    """Slices of so many rows [width], each of AT_ONCE tokens or one row."""
    count = max(1, AT_ONCE // max(width, 1))
    return (slice(first, first + count) for first in range(0, rows, count))


def windows(
    tokens: np.ndarray, firsts: np.ndarray, window: int, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens i32[n S], their entries in the table [n S]) of the windows that begin at the
    tokens `firsts` [n].
    """
    every = np.lib.stride_tricks.sliding_window_view(tokens, window)
    ids = np.empty((len(firsts), window), np.int32)
    entries = np.empty(ids.shape, table.dtype)
    for rows in parts(len(firsts), window):
        ids[rows] = every[firsts[rows]]
        entries[rows] = table.take(ids[rows])
    return ids, entries


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
    """(tokens, segments i32) [n length] of rows that are ranges of tokens, one after another.

    Each range [m] has its first token, its size and its segment; the sizes of a row add up to
    `length`. A range of segment 0 is padding: its tokens are 0, wherever it starts.
    """
    segments = np.repeat(ordinals, sizes).reshape(-1, length)
    indices = ranges(starts, sizes)
    # padding may reach beyond the last token
    row_tokens = tokens.take(indices, mode="clip").reshape(segments.shape)
    return row_tokens * (segments > 0), segments


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of every start [n], as many as its count [n], one after another."""
    stops = np.cumsum(counts)
    total = int(stops[-1]) if len(stops) else 0
    return np.repeat(starts - (stops - counts), counts) + np.arange(total)
