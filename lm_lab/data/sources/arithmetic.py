"""Sums, differences and products of whole numbers: pairs ("12+345=", "357"), drawn by a seed.

The best possible exact match is 100 %; a model that knows only the length d of an answer is right
once in 9 * 10 ** (d - 1). With reverse=True answers begin with their last digit, which is easier to
learn (2307.03381).
"""

import dataclasses
import operator
from typing import Literal

import numpy as np

from lm_lab.data import drawn
from lm_lab.schema import setting
from lm_lab.types import Document

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(drawn.Drawn):
    """Which operations, and how many digits."""

    operation: Literal["+", "-", "*"] = setting("what is done with two numbers", "+")
    digits: int = setting("of a number, at most; all counts are as likely", 3, low=1, high=18)
    reverse: bool = setting("whether answers begin with their last digit", False)


def _draw(config: Config, rng: np.random.Generator) -> Document:
    first, second = (_number(config.digits, rng) for _ in range(2))
    answer = str(OPERATIONS[config.operation](first, second))
    target = answer[::-1] if config.reverse else answer
    return Document("", f"{first}{config.operation}{second}=", target)


def _number(digits: int, rng: np.random.Generator) -> int:
    """A number whose count of digits is uniform, and the number uniform among those."""
    count = int(rng.integers(1, digits + 1))
    return int(rng.integers(10 ** (count - 1) if count > 1 else 0, 10**count))


SOURCE = drawn.source("arithmetic", Config, _draw, provides="pairs")
