"""Dyck languages of bounded depth (2010.07515): balanced brackets of some kinds, drawn by a seed.

Every document is uniform among the balanced strings of its length whose depth is bounded, so the
floor of the loss is exact: `floor_bits`, the logarithm of their number. A model that knows the
depth and not which kind is open loses log2(kinds) more at each closing bracket (`memory_bits` of
all). Documents have the same length: with data.length = brackets + 1 a window is one document and
its end.
"""

import dataclasses
import math
from functools import cache

import numpy as np

from lm_lab.data import drawn
from lm_lab.schema import setting
from lm_lab.types import Document, UserError

OPENING, CLOSING = "([{<abcdefghijklmnopqrstuvwxyz", ")]}>ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(drawn.Drawn):
    """Which language, and the length of its strings. Raises UserError for an odd length."""

    kinds: int = setting("kinds of brackets; beyond four, letters", 2, low=1, high=len(OPENING))
    depth: int = setting("brackets that are open at once, at most", 8, low=1, high=256)
    brackets: int = setting("in a document, an even number", 64, low=2, high=1024)

    def __post_init__(self) -> None:
        """Checks the length."""
        if self.brackets % 2:
            raise UserError(f"brackets must be even, not {self.brackets}")


def floor_bits(config: Config) -> float:
    """The entropy of a document in bits, exact: the least that any model can lose on it."""
    strings = _shapes(config.brackets, config.depth)[config.brackets][0]
    return math.log2(strings) + memory_bits(config)


def memory_bits(config: Config) -> float:
    """The bits of the kinds alone: what a model that forgets them loses on closing brackets."""
    return config.brackets / 2 * math.log2(config.kinds)


@cache
def _shapes(brackets: int, depth: int) -> list[list[int]]:
    """[left][open]: in how many ways `left` more brackets close the `open` ones, with at most
    `depth` open at any time.
    """
    ways = [[1] + [0] * depth]
    for _ in range(brackets):
        before = [0, *ways[-1], 0]
        ways.append([before[at] + before[at + 2] for at in range(depth + 1)])
    return ways


@cache
def _openings(brackets: int, depth: int) -> np.ndarray:
    """The probability that the next bracket opens, f64[left, open], in uniform strings."""
    ways = _shapes(brackets, depth)
    probabilities = np.zeros((brackets + 1, depth + 1))
    for left in range(1, brackets + 1):
        for at in range(depth):
            if ways[left][at]:
                probabilities[left, at] = ways[left - 1][at + 1] / ways[left][at]
    return probabilities


def _draw(config: Config, rng: np.random.Generator) -> Document:
    probabilities = _openings(config.brackets, config.depth)
    draws, kinds = rng.random(config.brackets), rng.integers(config.kinds, size=config.brackets)
    text, pending = [], []
    for number, (draw, kind) in enumerate(zip(draws, kinds)):
        if draw < probabilities[config.brackets - number, len(pending)]:
            pending.append(kind)
            text.append(OPENING[kind])
        else:
            text.append(CLOSING[pending.pop()])
    return Document("", "".join(text))


SOURCE = drawn.source("dyck", Config, _draw)
