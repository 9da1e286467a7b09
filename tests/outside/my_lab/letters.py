"""A tokenizer: the bytes of a text in lower case."""

from dataclasses import dataclass

from lm_lab.contracts import Tokenizer
from lm_lab.data.tokenizers.byte import TOKENIZER as BYTE


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def make(config, learnt):
    """The byte tokenizer of the text in lower case."""
    byte = BYTE.make(BYTE.Config(), learnt)
    return byte._replace(identity="lower-case", encode=lambda text: byte.encode(text.lower()))


TOKENIZER = Tokenizer(Config, make)
