"""UTF-8 bytes: ids 0 to 255 are the bytes, id 256 ends a document. Any script, nothing to learn."""

import dataclasses
from typing import Any

import numpy as np

from lm_lab.contracts import Tokenizer
from lm_lab.data.tokenizers import _library
from lm_lab.types import Codec

END_OF_DOCUMENT = 256


def ends_sentence(text: bytes) -> bool:
    """Whether the text of a token ends a sentence."""
    return text[-1:] in (b".", b"!", b"?", b"\n")


_BYTES = [bytes([value]) for value in range(256)]
# letters, digits, the underscore, and all bytes of scripts beyond ASCII
WORDS = np.array(
    [byte.isalnum() or byte == b"_" or byte[0] > 127 for byte in _BYTES] + [False], np.uint8
)
IN_UTF8 = [value for value in range(0xF5) if value not in (0xC0, 0xC1)]  # that occur in UTF-8
SENTENCE_ENDS = np.array([ends_sentence(byte) for byte in _BYTES] + [True])


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings."""


def make(config: Config, learnt: bytes = b"") -> Codec:
    """The byte tokenizer: 257 ids, as u16."""
    bytes_of = np.ones(257, np.uint16)
    bytes_of[END_OF_DOCUMENT] = 0
    return Codec("byte", 257, END_OF_DOCUMENT, bytes_of, WORDS, SENTENCE_ENDS, _encode, _decode)


def _encode(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.uint16)


def _decode(ids: Any) -> str:
    flat = np.asarray(ids).ravel()
    return flat[flat < END_OF_DOCUMENT].astype(np.uint8).tobytes().decode(errors="replace")


TOKENIZER = Tokenizer(Config, make, exported=lambda config, learnt: _library.of_bytes())
