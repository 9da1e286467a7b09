"""ListOps (1804.06028): nested lists of digits under MIN, MAX, MED and SM (sum modulo 10), and the
value of each, 0 to 9, as its class; drawn by a seed.

[MAX 2 9 [MIN 4 7 ] 0 ] has the value 9. The best possible accuracy is 100 %. Guessing gives 10 %;
always saying the most frequent value gives more (`majority`), as MIN and MAX prefer 0 and 9.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from itertools import islice

import numpy as np

from lm_lab.data import drawn
from lm_lab.schema import setting
from lm_lab.types import Document, UserError

OPERATIONS: dict[str, Callable[[list[int]], int]] = {
    "MIN": min,
    "MAX": max,
    "MED": lambda values: int(np.median(values)),
    "SM": lambda values: sum(values) % 10,
}
NESTED = 0.25  # the share of arguments that are lists, as in the paper's generator
TRIES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(drawn.Drawn):
    """The size and nesting of the lists. Raises UserError for lengths out of order."""

    depth: int = setting("lists within each other, at most", 5, low=1, high=20)
    arguments: int = setting("of a list, at most; at least two", 5, low=2, high=20)
    shortest: int = setting("symbols (digits, brackets) of the shortest expression", 4, low=4)
    longest: int = setting("symbols of the longest expression", 64, low=4)

    def __post_init__(self) -> None:
        """Checks the lengths."""
        if self.shortest > self.longest:
            raise UserError(f"shortest {self.shortest} is above longest {self.longest}")


def majority(config: Config, sample: int = 10_000) -> float:
    """The share of the most frequent value, in [0, 1], among the first `sample` expressions."""
    values = Counter(document.label for document in islice(SOURCE.documents(config), sample))
    return values.most_common(1)[0][1] / values.total()


def _draw(config: Config, rng: np.random.Generator) -> Document:
    for _ in range(TRIES):
        symbols, value = _list(config, rng, 1)
        if config.shortest <= len(symbols) <= config.longest:
            return Document("", " ".join(symbols), label=float(value))
    raise UserError(
        f"config.data.source.shortest: {TRIES} expressions of depth {config.depth} have no length "
        f"of {config.shortest} to {config.longest}; widen that, or change depth or arguments"
    )


def _list(config: Config, rng: np.random.Generator, depth: int) -> tuple[list[str], int]:
    """The symbols of a list at this depth, and its value."""
    operation = list(OPERATIONS)[rng.integers(len(OPERATIONS))]
    symbols, values = [f"[{operation}"], []
    for _ in range(rng.integers(2, config.arguments + 1)):
        if depth < config.depth and rng.random() < NESTED:
            inner, value = _list(config, rng, depth + 1)
        else:
            value = int(rng.integers(10))
            inner = [str(value)]
        symbols += inner
        values.append(value)
    return [*symbols, "]"], OPERATIONS[operation](values)


SOURCE = drawn.source("list_operations", Config, _draw, provides="labelled")
