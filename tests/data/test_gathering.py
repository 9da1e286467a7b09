"""Rows that are put together of ranges, beside a loop over them."""

import numpy as np

from lm_lab.data.gathering import rows_of


def test_rows_of_ranges_are_those_of_a_loop():
    rng, length = np.random.default_rng(0), 70
    tokens = rng.integers(1, 2**16, 500).astype(np.uint16)
    ranges, rows = [], []
    for _ in range(40):
        sizes = rng.choice([0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33], rng.integers(0, 5))
        sizes = sizes[np.cumsum(sizes) <= length]
        starts = rng.integers(0, len(tokens) - 34, len(sizes))
        padding = length - int(sizes.sum())
        parts = [tokens[start : start + size] for start, size in zip(starts, sizes)]
        of_parts = [np.full(size, 1 + number) for number, size in enumerate(sizes)]
        rows.append(
            (
                np.concatenate([*parts, np.zeros(padding)]),
                np.concatenate([*of_parts, np.zeros(padding)]),
            )
        )
        ranges += [*zip(starts, sizes, 1 + np.arange(len(sizes))), (0, padding, 0)]
    starts, sizes, ordinals = np.array(ranges).T
    found = rows_of(tokens, starts, sizes, ordinals, length)
    for own, expected in zip(found, zip(*rows)):
        assert own.dtype == np.int32
        np.testing.assert_array_equal(own, np.stack(expected))


def test_a_range_may_end_with_the_text():
    tokens = np.arange(9, dtype=np.uint16)
    found, _ = rows_of(tokens, np.array([4]), np.array([5]), np.array([1]), 5)
    np.testing.assert_array_equal(found, [[4, 5, 6, 7, 8]])
