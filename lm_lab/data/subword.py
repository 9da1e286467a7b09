"""A vocabulary of words or characters, and of the 256 bytes, which spell everything else.

Ids 0 to 255 are bytes, the entries follow in order, the last id is end_of_document.
"""

import hashlib
import itertools
import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lm_lab.data.gathering import ranges
from lm_lab.data.tokenizers import byte
from lm_lab.types import Codec, Encoder

# the longest entry, in bytes of text: Codec.bytes_of counts in u16
LONGEST = 2**16 - 2
AT_ONCE = 2**20  # characters that CharacterTable looks up in one go

MakeEncoder = Callable[[dict[str, int], np.dtype], Encoder]  # from the id of each entry


def dump(pieces: list[str]) -> bytes:
    """Entries as a tokenizer's `learn` returns them."""
    return json.dumps(pieces).encode()


def unknown(learnt: bytes, pieces: Iterable[str]) -> tuple[int, int]:
    """(number of pieces that are not in the vocabulary `learnt`, number of pieces).

    The pieces are those of a text cut as its encoder does.
    """
    entries, missing, total = set(json.loads(learnt)), 0, 0
    for piece in pieces:
        missing += piece not in entries
        total += 1
    return missing, total


def build(
    name: str,
    learnt: bytes,
    *,
    encoder: MakeEncoder,
    size: Callable[[str], int],
    join: Callable[[list[bytes]], str],
    written: Callable[[str], bytes],
    begins_word: Callable[[str], int],
) -> Codec:
    """The tokenizer of the vocabulary `learnt`.

    `encoder` is `by_pieces` or `by_character`, `size` gives the UTF-8 bytes of the original text
    that a piece stands for, `written` a piece's own bytes, `join` the text of the written bytes of
    all ids, and `begins_word` the entry of Codec.words.
    """
    pieces: list[str] = json.loads(learnt)
    ids = {piece: 256 + number for number, piece in enumerate(pieces)}
    end = 256 + len(pieces)
    bytes_of = np.array([1] * 256 + [size(piece) for piece in pieces] + [0], np.uint16)
    word_starts = np.array([*byte.WORDS[:256], *map(begins_word, pieces), 0], np.uint8)
    ends = np.array(
        [*byte.SENTENCE_ENDS[:256], *(piece[-1:] in tuple(".!?\n") for piece in pieces), True], bool
    )
    spelt = [bytes([value]) for value in range(256)] + [written(piece) for piece in pieces]

    def decode(encoded: Any) -> str:
        return join(
            [spelt[number] for number in np.asarray(encoded).ravel().tolist() if number < end]
        )

    identity = f"{name}-{hashlib.sha256(learnt).hexdigest()[:32]}"
    encode = encoder(ids, np.min_scalar_type(end))
    codec = Codec(identity, end + 1, end, bytes_of, word_starts, ends, encode, decode)
    return codec._replace(unknown=np.arange(end + 1) < 256)


def by_pieces(
    cut: Callable[[Sequence[str]], Iterable[list[str]]], spell: Callable[[str], bytes]
) -> MakeEncoder:
    """Encodes by the pieces into which `cut` divides each text; `spell` gives the bytes of a piece
    without an id.
    """

    def encoder(ids: dict[str, int], dtype: np.dtype) -> Encoder:
        def encode_all(texts: Sequence[str]) -> list[np.ndarray]:
            pieces = list(cut(texts))
            all_pieces = list(itertools.chain.from_iterable(pieces))
            looked_up = map(ids.get, all_pieces, itertools.repeat(-1))
            piece_ids = np.fromiter(looked_up, np.int32, len(all_pieces))
            missing = np.flatnonzero(piece_ids < 0)
            spelling = [spell(all_pieces[index]) for index in missing.tolist()]
            counts = np.ones(len(piece_ids), np.int64)
            counts[missing] = [len(data) for data in spelling]
            stops = np.cumsum(counts)
            text_ids = np.repeat(piece_ids, counts).astype(dtype)
            byte_indices = ranges(stops[missing] - counts[missing], counts[missing])
            text_ids[byte_indices] = np.frombuffer(b"".join(spelling), np.uint8)
            last = np.cumsum([len(part) for part in pieces], dtype=np.int64)
            return _divided(text_ids, np.concatenate([[0], stops])[last])

        return Encoder(lambda text: encode_all([text])[0], encode_all)

    return encoder


def by_character(cut: Callable[[str], Iterable[tuple[str, bytes]]]) -> MakeEncoder:
    """Encodes by characters, whose ids stand in a table: `cut` gives the pieces of one, each
    with the bytes that spell it if it has no id.
    """

    def encoder(ids: dict[str, int], dtype: np.dtype) -> Encoder:
        def numbers(character: str) -> list[int]:
            entries = ((ids.get(piece), spelling) for piece, spelling in cut(character))
            return [
                number
                for entry_id, spelling in entries
                for number in (spelling if entry_id is None else (entry_id,))
            ]

        table = CharacterTable(numbers, dtype)
        return Encoder(lambda text: table.encode_all([text])[0], table.encode_all)

    return encoder


def as_arrays(lists: Iterable[list[int]], dtype: np.dtype) -> list[np.ndarray]:
    """Lists of ids as arrays, which are views of one: for short texts twice as quick as one by
    one.
    """
    ids, counts = array(dtype.char), []
    for part in lists:
        ids.fromlist(part)
        counts.append(len(part))
    return _divided(np.array(ids, dtype), np.cumsum(counts, dtype=np.int64))


def narrowed(arrays: Sequence[np.ndarray], dtype: np.dtype) -> list[np.ndarray]:
    """Arrays of ids i32[n] in another dtype, as views of one."""
    stops = np.cumsum(list(map(len, arrays)), dtype=np.int64)
    ids = np.concatenate([np.empty(0, np.int32), *arrays], dtype=dtype, casting="unsafe")
    return _divided(ids, stops)


def _divided(ids: np.ndarray, stops: np.ndarray) -> list[np.ndarray]:
    """The parts of an array that end before these places."""
    ends = stops.tolist()
    return [ids[start:stop] for start, stop in zip([0, *ends], ends)]


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
        parts = [
            self._look_up(joined[start : start + AT_ONCE])
            for start in range(0, len(joined), AT_ONCE)
        ]
        counts = np.concatenate([np.zeros(1, np.int64), *(count for _, count in parts)])
        ids = np.concatenate([np.empty(0, self._dtype), *(part_ids for part_ids, _ in parts)])
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        # the index after each text's last id
        return _divided(ids, np.cumsum(counts)[np.cumsum(lengths)])

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
        ids_of_points = [self._numbers(chr(point)) for point in points.tolist()]
        counts = np.array([len(ids) for ids in ids_of_points], np.int64)
        firsts = len(self._pool) + np.cumsum(counts) - counts
        rows = len(self._first) + np.arange(len(points))
        self._pool = np.append(
            self._pool, np.array([number for ids in ids_of_points for number in ids], self._dtype)
        )
        self._first = np.append(self._first, firsts)
        self._count = np.append(self._count, counts)
        self._slot_of[points] = rows
