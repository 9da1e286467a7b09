"""Copy a string, or reverse it (1410.5401, 2402.01032): pairs (string, its copy), drawn by a seed.

The best possible exact match is 100 %, at 0 bits, as the source determines the target; a model that
ignores the source and knows its length loses log2(symbols) bits a symbol.
"""

import dataclasses
import string

import numpy as np

from lm_lab.data import drawn
from lm_lab.schema import setting
from lm_lab.types import Document, UserError

ALPHABET = string.ascii_letters + string.digits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(drawn.Drawn):
    """Which strings, and in which direction they are copied. Raises UserError for lengths out of
    order.
    """

    symbols: int = setting("letters of the alphabet, one byte each", 26, low=2, high=len(ALPHABET))
    shortest: int = setting("letters of the shortest string", 1, low=1)
    longest: int = setting("letters of the longest string; lengths are uniform", 32, low=1)
    reverse: bool = setting("whether the target is the string backwards", False)

    def __post_init__(self) -> None:
        """Checks the lengths."""
        if self.shortest > self.longest:
            raise UserError(f"shortest {self.shortest} is above longest {self.longest}")


def _draw(config: Config, rng: np.random.Generator) -> Document:
    length = rng.integers(config.shortest, config.longest + 1)
    text = "".join(ALPHABET[letter] for letter in rng.integers(config.symbols, size=length))
    return Document("", text, text[::-1] if config.reverse else text)


SOURCE = drawn.source("copying", Config, _draw, provides="pairs")
