"""The order of rows: another permutation for every epoch, from a seed.

It equals grain's `index_shuffle` (4 rounds), bit for bit, and gives thousands of rows at once. A
call of grain's gives one row in some 7 µs, ten times as long as gathering the row.

A number is enciphered by rounds of Simon (Beaulieu et al., ePrint 2013/404) on an even number of
bits that holds it, repeatedly until the result is the number of a row (Black and Rogaway 2002,
"Ciphers with arbitrary finite domains"). The keys of the rounds are those of C++'s std::seed_seq.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np

ROUNDS = 4
FEWEST_BITS = 16  # of a number that is enciphered, at least
SMALL = 2**FEWEST_BITS
# Numbers that are enciphered at once: their temporary arrays stay in the processor's cache.
AT_ONCE = 2**13
KEPT = 64  # blocks, of 512 kB at most, whose order is kept in memory
WORD = 2**32


class Order(NamedTuple):
    """The numbers below `size`, epoch after epoch: as grain's MapDataset shuffles them."""

    size: int
    seed: int | None  # None: in order

    def at(self, places: np.ndarray) -> np.ndarray:
        """The numbers at these places [n] of the endless order, i64[n]."""
        if self.seed is None or self.size == 0:
            return places % max(self.size, 1)
        epochs, within = np.divmod(places, self.size)
        block_size = SMALL if self.size <= SMALL else AT_ONCE
        blocks = within // block_size
        changes = (epochs[1:] != epochs[:-1]) | (blocks[1:] != blocks[:-1])
        begins = [0, *(1 + np.flatnonzero(changes)).tolist()] if len(places) else []
        numbers = np.empty(len(places), np.int64)
        for begin, end in itertools.pairwise([*begins, len(places)]):
            seed, block_number = (self.seed + int(epochs[begin])) % WORD, int(blocks[begin])
            block = _block(self.size, seed, block_number)
            numbers[begin:end] = block[within[begin:end] - block_number * block_size]
        return numbers


def endless(count: int, seed: int | None) -> Order:
    """The numbers below `count`, epoch after epoch, shuffled by the seed; in order if it is
    None.
    """
    # grain seeds epoch e with seed + e: without mixing, neighbouring seeds would share epochs.
    mixed = None if seed is None else int(np.random.SeedSequence(seed).generate_state(1)[0])
    return Order(count, mixed)


@functools.lru_cache(KEPT)
def _block(size: int, seed: int, block: int) -> np.ndarray:
    """The numbers at AT_ONCE places of an epoch, i64[n]; all of a SMALL epoch."""
    keys = _round_keys(seed)
    if size <= SMALL:
        return _small_epoch(size, keys)
    # For size 2**k + 1 grain uses one bit fewer than the last number needs, and repeats a row.
    bits = (size - 2).bit_length()
    bits += bits % 2
    numbers = np.arange(block * AT_ONCE, min((block + 1) * AT_ONCE, size))
    outside = np.arange(len(numbers))
    while len(outside):
        numbers[outside] = _enciphered(numbers[outside], bits, keys)
        outside = outside[numbers[outside] >= size]
    return numbers


def _small_epoch(size: int, keys: list[int]) -> np.ndarray:
    """All numbers of an epoch, i64[size].

    If few of the SMALL numbers are below `size`, the walks are long. So the walks of all SMALL
    numbers are followed together: every turn at least doubles the length of each unfinished walk.
    """
    if size == 1:
        return np.zeros(1, np.int64)
    parts = [slice(first, first + AT_ONCE) for first in range(0, SMALL, AT_ONCE)]
    numbers = np.arange(SMALL)
    reached = np.concatenate([_enciphered(numbers[part], FEWEST_BITS, keys) for part in parts])
    while (reached[:size] >= size).any():
        for part in parts:
            values = reached[part]
            reached[part] = np.where(values < size, values, reached[values])
    return reached[:size]


def _enciphered(numbers: np.ndarray, bits: int, keys: list[int]) -> np.ndarray:
    """Numbers below 2**bits i64[n] after ROUNDS rounds of Simon."""
    half, kinds = bits // 2, np.uint32
    mask = kinds(2**half - 1)
    left, right = (numbers >> half).astype(kinds) & mask, numbers.astype(kinds) & mask
    for key in keys:
        one, two, eight = (right << kinds(n) | right >> kinds(half - n) for n in (1, 2, 8))
        left, right = right, left ^ (((one & eight) ^ two ^ kinds(key)) & mask)
    return left.astype(np.int64) << half | right


def _round_keys(seed: int) -> list[int]:
    """u32[ROUNDS] of std::seed_seq{seed}."""
    state = [0x8B8B8B8B] * ROUNDS
    for place, added in enumerate((1, 1 + seed, 2, 3)):
        after, second, last = ((place + n) % ROUNDS for n in (1, 2, 3))
        mixed = _mixed(1664525, state[place] ^ state[after] ^ state[last])
        state[after] = (state[after] + mixed) % WORD
        state[place] = (mixed + added) % WORD
        state[second] = (state[second] + state[place]) % WORD
    for place in range(ROUNDS):
        after, second, last = ((place + n) % ROUNDS for n in (1, 2, 3))
        mixed = _mixed(1566083941, state[place] + state[after] + state[last])
        state[after] ^= mixed
        state[place] = (mixed - place) % WORD
        state[second] ^= state[place]
    return state


def _mixed(factor: int, value: int) -> int:
    value %= WORD
    return factor * (value ^ value >> 27) % WORD
