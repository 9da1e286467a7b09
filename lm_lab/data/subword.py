"""A vocabulary of words or characters, and of the 256 bytes, which spell everything else.

Ids 0 to 255 are bytes, the entries follow in order, the last id is end_of_document.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lm_lab.data.tokenizers import byte
from lm_lab.types import Codec, Encoder

# the longest entry, in bytes of text: Codec.bytes_of counts in u16
LONGEST = 2**16 - 2
AT_ONCE = 2**20  # characters that CharacterTable looks up in one go

Parts = Iterator[tuple[str, bytes]]


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
    cut: Callable[[str], Parts],
    size: Callable[[str], int],
    join: Callable[[list[bytes]], str],
    written: Callable[[str], bytes],
    begins_word: Callable[[str], int],
    by_character: bool = False,
    cut_all: Callable[[Sequence[str]], Iterable[Parts]] | None = None,
) -> Codec:
    """The tokenizer of the vocabulary `learnt`.

    `cut` splits a text into (piece, the bytes that spell it if it has no id), `size` gives the
    UTF-8 bytes of the original text that a piece stands for, `written` a piece's own bytes, `join`
    the text of the written bytes of all ids, and `begins_word` the entry of Codec.words. With
    `by_character`, `cut` looks at one character at a time, and whole batches are looked up in a
    table. `cut_all` splits several texts on all cores.
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

    def numbers(parts: Parts) -> list[int]:
        found: list[int] = []
        for piece, spelling in parts:
            number = ids.get(piece)
            found.extend(spelling if number is None else (number,))
        return found

    def encode(text: str) -> np.ndarray:
        return np.array(numbers(cut(text)), dtype)

    def encode_all(texts: Sequence[str]) -> list[np.ndarray]:
        assert cut_all is not None
        return [np.array(numbers(parts), dtype) for parts in cut_all(texts)]

    def decode(given: Any) -> str:
        return join(
            [spelt[number] for number in np.asarray(given).ravel().tolist() if number < end]
        )

    identity = f"{name}-{hashlib.sha256(learnt).hexdigest()[:32]}"
    codec = Codec(identity, end + 1, end, bytes_of, words, ends, encode, decode)
    codec = codec._replace(unknown=np.arange(end + 1) < 256)
    if not by_character:
        return codec if cut_all is None else codec._replace(encode=Encoder(encode, encode_all))
    table = CharacterTable(lambda character: numbers(cut(character)), dtype)
    return codec._replace(
        encode=Encoder(lambda text: table.encode_all([text])[0], table.encode_all)
    )


class CharacterTable:
    """Looks up the ids of every character, each of which has its own, whatever characters are
    beside it.
    """

    def __init__(self, numbers: Callable[[str], list[int]], dtype: np.dtype) -> None:
        """`numbers` gives the ids of a character, and is asked once for each."""
        self._numbers, self._dtype = numbers, dtype
        self._slot_of = np.full(0x110000, -1, np.int32)  # code point -> row of the tables below
        self._first = np.empty(0, np.int64)  # the index of its first id in _pool
        self._count = np.empty(0, np.int64)
        self._pool = np.empty(0, dtype)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text."""
        joined = "".join(texts)
        parts = [self._look_up(joined[n : n + AT_ONCE]) for n in range(0, len(joined), AT_ONCE)]
        counts = np.concatenate([np.zeros(1, np.int64), *(count for _, count in parts)])
        ids = np.concatenate([np.empty(0, self._dtype), *(found for found, _ in parts)])
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        # the index after each text's last id
        stops = np.cumsum(counts)[np.cumsum(lengths)].tolist()
        return [ids[start:stop] for start, stop in zip([0, *stops], stops)]

    def _look_up(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(ids of a text, how many each character has)."""
        points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        rows = self._slot_of[points]
        if (rows < 0).any():
            self._add(np.unique(points[rows < 0]))
            rows = self._slot_of[points]
        counts = self._count[rows]
        stops = np.cumsum(counts)
        places = np.repeat(self._first[rows] - (stops - counts), counts)
        return self._pool[places + np.arange(len(places))], counts

    def _add(self, points: np.ndarray) -> None:
        found = [self._numbers(chr(point)) for point in points.tolist()]
        counts = np.array([len(ids) for ids in found], np.int64)
        firsts = len(self._pool) + np.cumsum(counts) - counts
        rows = len(self._first) + np.arange(len(points))
        self._pool = np.append(self._pool, np.array([n for ids in found for n in ids], self._dtype))
        self._first = np.append(self._first, firsts)
        self._count = np.append(self._count, counts)
        self._slot_of[points] = rows
