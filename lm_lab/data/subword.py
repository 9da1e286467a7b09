"""A vocabulary of words or characters with the 256 bytes, which spell everything else.

Ids 0 to 255 are bytes, the entries follow in order, the last id is end_of_document.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lm_lab.data.tokenizers import byte
from lm_lab.types import Codec


def dump(pieces: list[str]) -> bytes:
    """Entries as a tokenizer's `learn` returns them."""
    return json.dumps(pieces).encode()


def unknown(learnt: bytes, parts: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    """(number of parts that are not in the vocabulary `learnt`, number of parts).

    The parts are those of a text cut as in `build`.
    """
    known, missing, total = set(json.loads(learnt)), 0, 0
    for piece, _ in parts:
        missing += piece not in known
        total += 1
    return missing, total


def build(
    name: str,
    learnt: bytes,
    *,
    cut: Callable[[str], Iterator[tuple[str, bytes]]],
    size: Callable[[str], int],
    join: Callable[[list[bytes]], str],
    written: Callable[[str], bytes],
    begins_word: Callable[[str], int],
) -> Codec:
    """The tokenizer of the vocabulary `learnt`.

    `cut` splits a text into (piece, the bytes that spell it if it has no id), `size` gives the
    UTF-8 bytes of the original text that a piece stands for, `written` a piece's own bytes, `join`
    the text of the written bytes of all ids, and `begins_word` the entry of Codec.words.
    """
    pieces: list[str] = json.loads(learnt)
    ids = {piece: 256 + number for number, piece in enumerate(pieces)}
    end = 256 + len(pieces)
    bytes_of = np.array([1] * 256 + [size(piece) for piece in pieces] + [0], np.uint16)
    words = np.array([*byte.WORDS[:256], *map(begins_word, pieces), 0], np.uint8)
    ends = np.array(
        [*byte.SENTENCE_ENDS[:256], *(piece[-1:] in tuple(".!?\n") for piece in pieces), True], bool
    )
    spelt = [bytes([value]) for value in range(256)] + [written(piece) for piece in pieces]
    dtype = np.min_scalar_type(end)

    def encode(text: str) -> np.ndarray:
        found: list[int] = []
        for piece, spelling in cut(text):
            number = ids.get(piece)
            found.extend(spelling if number is None else (number,))
        return np.array(found, dtype)

    def decode(given: Any) -> str:
        return join(
            [spelt[number] for number in np.asarray(given).ravel().tolist() if number < end]
        )

    identity = f"{name}-{hashlib.sha256(learnt).hexdigest()[:32]}"
    return Codec(identity, end + 1, end, bytes_of, words, ends, encode, decode)
