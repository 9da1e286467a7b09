"""Multi-query associative recall, MQAR (2312.04927): keys with values, then queries with answers,
drawn by a seed; the paper's filler between queries is left out.

A document is k v k v ... q a q a ...: `pairs` different keys with values, then `queries` of these
keys in another order, each followed by its value. All documents have the same length: with
data.length = document_characters(config) + 1, a window is one document and its end. The floor of
the loss is exact (`floor_bits`): a model that recalls loses nothing on the answers, one that does
not loses log2(values) bits on each (`recall_bits` in all).
"""

import dataclasses
import math

import numpy as np

from lm_lab.data import drawn
from lm_lab.schema import setting
from lm_lab.types import Document, UserError

ASCII = "".join(map(chr, range(33, 127)))  # one byte a symbol
FIRST_IDEOGRAPH = 0x4E00  # three bytes a symbol, where ASCII has too few
MOST_SYMBOLS = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(drawn.Drawn):
    """How many keys, values and queries. Raises UserError for more pairs than keys, or queries than
    pairs.
    """

    keys: int = setting("keys there are; with values up to 94: a byte each", 32, low=2)
    values: int = setting("values there are", 32, low=2)
    pairs: int = setting("keys with values in a document", 8, low=1)
    queries: int = setting("of these keys, asked for", 8, low=1)

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not self.queries <= self.pairs <= self.keys:
            raise UserError(
                f"queries {self.queries} must be at most pairs {self.pairs}, and these at most "
                f"keys {self.keys}"
            )
        if self.keys + self.values > MOST_SYMBOLS:
            raise UserError(f"keys and values must be at most {MOST_SYMBOLS} together")


def document_characters(config: Config) -> int:
    """The length of every document."""
    return 2 * (config.pairs + config.queries)


def floor_bits(config: Config) -> float:
    """The entropy of a document in bits, exact: the least that any model can lose on it."""
    keys = math.log2(math.perm(config.keys, config.pairs))
    queries = math.log2(math.perm(config.pairs, config.queries))
    return keys + config.pairs * math.log2(config.values) + queries


def recall_bits(config: Config) -> float:
    """What a model loses beyond the floor if it gives every value the same probability as an
    answer.
    """
    return config.queries * math.log2(config.values)


def _draw(config: Config, rng: np.random.Generator) -> Document:
    keys = rng.permutation(config.keys)[: config.pairs]
    values = config.keys + rng.integers(config.values, size=config.pairs)
    queried = rng.permutation(config.pairs)[: config.queries]
    table = np.stack([keys, values], axis=1)
    return Document("", _letters(config, np.concatenate([table, table[queried]]).ravel()))


def _letters(config: Config, symbols: np.ndarray) -> str:
    if config.keys + config.values <= len(ASCII):
        return "".join(ASCII[symbol] for symbol in symbols)
    return "".join(chr(FIRST_IDEOGRAPH + symbol) for symbol in symbols)


SOURCE = drawn.source("associative_recall", Config, _draw)
