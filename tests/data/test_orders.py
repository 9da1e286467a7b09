"""The order of rows: grain's, bit for bit, each row once an epoch."""

import grain
import numpy as np
import pytest
from grain.experimental import index_shuffle

from lm_lab.data.orders import AT_ONCE, SMALL, endless


@pytest.mark.parametrize("seed", [0, 5, None])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_order_is_that_of_grain(size, seed):
    """Runs go on with the order in which grain's MapDataset gave their rows."""
    theirs = grain.MapDataset.range(size)
    if seed is not None:
        theirs = theirs.shuffle(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    theirs = theirs.repeat()
    places = np.concatenate([np.arange(20), [size - 1, size, 2 * size, 5 * size - 1]])
    assert endless(size, seed).at(places).tolist() == [theirs[place] for place in places.tolist()]


# Around the sizes at which the cipher has more bits, or a number less than the last row needs.
@pytest.mark.parametrize(
    "size", [300, SMALL - 1, SMALL, SMALL + 1, SMALL + 2, 2**17, 2**18 + 1, 10**6, 2**32 + 1, 2**40]
)
def test_the_order_is_that_of_grain_at_any_size(size):
    order = endless(size, 11)
    assert order.seed is not None
    edges = np.array([0, AT_ONCE - 1, AT_ONCE, SMALL - 1, SMALL, size - 1, size, 3 * size - 1])
    last = min(2**33 * size, 2**62)  # the seed of an epoch wraps
    drawn = np.random.default_rng(0).integers(0, last, 5)
    for places in (edges, drawn, np.arange(size - 9, size + 9)):
        theirs = [
            index_shuffle(place % size, size - 1, (order.seed + place // size) % 2**32, rounds=4)
            for place in places.tolist()
        ]
        assert order.at(places).tolist() == theirs


@pytest.mark.parametrize("size", [2, 300, SMALL, SMALL + 2])
def test_every_row_stands_once_in_an_epoch(size):
    for epoch in (0, 1):
        rows = endless(size, 3).at(np.arange(size) + epoch * size)
        assert np.array_equal(np.sort(rows), np.arange(size))


def test_no_places_have_no_rows():
    assert endless(10, 3).at(np.arange(0)).shape == (0,)
