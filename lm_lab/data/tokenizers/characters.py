"""The Unicode characters of the training text, Hangul by syllable or letter; bytes spell others."""

import dataclasses
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

from lm_lab.contracts import Tokenizer
from lm_lab.data import subword
from lm_lab.schema import setting
from lm_lab.types import Codec

SYLLABLES = range(0xAC00, 0xD7A4)
LETTERS = range(0x1100, 0x1200)  # conjoining letters: leads, then vowels, then tails
LEADS = range(0x1100, 0x1160)
MODERN = [
    chr(first + n)
    for first, count in ((0x1100, 19), (0x1161, 21), (0x11A8, 27))
    for n in range(count)
]


@dataclasses.dataclass(frozen=True)
class Config:
    """Which characters have their own id."""

    hangul: Literal["syllables", "letters"] = setting(
        "what a Hangul syllable is cut into (letters: NFD)", "syllables"
    )
    least_count: int = setting("times that a character must stand in the training text", 1, low=1)


def learn(config: Config, texts: Iterable[str]) -> bytes:
    """The characters in order of code points; the letters of Hangul are all among them, or none."""
    counts = Counter(piece for text in texts for piece, _ in _cut(text, "syllables"))
    syllables = SYLLABLES if config.hangul == "letters" else ()
    frequent = {
        p for p in counts if p and counts[p] >= config.least_count and ord(p) not in syllables
    }
    return subword.dump(sorted(frequent.union(MODERN if config.hangul == "letters" else ())))


def make(config: Config, learnt: bytes) -> Codec:
    """The tokenizer; decode(encode(text)) is the text.

    A syllable's bytes count for its first letter.
    """
    return subword.build(
        f"characters-{config.hangul}",
        learnt,
        cut=lambda text: _cut(text, config.hangul),
        size=_size,
        join=_join,
        written=lambda piece: piece.encode(),
        begins_word=lambda piece: int(piece.isalnum() or piece == "_"),
        by_character=True,
    )


def unknown(config: Config, learnt: bytes, texts: Iterable[str]) -> tuple[int, int]:
    """(characters of the texts without an id, all characters)."""
    return subword.unknown(learnt, (part for text in texts for part in _cut(text, config.hangul)))


def _cut(text: str, hangul: str) -> Iterator[tuple[str, bytes]]:
    for character in text:
        if ord(character) in SYLLABLES and hangul == "letters":
            for letter in unicodedata.normalize("NFD", character):
                yield letter, letter.encode()
        elif ord(character) in LETTERS:
            # A letter that stands alone in the text has no piece: it is spelt in bytes, to tell it
            # from a part of a syllable.
            yield "", character.encode()
        else:
            yield character, character.encode()


def _size(piece: str) -> int:
    if ord(piece) not in LETTERS:
        return len(piece.encode())
    return 3 if ord(piece) in LEADS else 0


def _join(written: list[bytes]) -> str:
    """Joins letters with ids into syllables; those spelt in bytes stay as they are."""
    parts = itertools.groupby(
        written, key=lambda data: len(data) == 3 and ord(data.decode()) in LETTERS
    )
    texts = ((letters, b"".join(data).decode(errors="replace")) for letters, data in parts)
    return "".join(
        unicodedata.normalize("NFC", text) if letters else text for letters, text in texts
    )


TOKENIZER = Tokenizer(Config, make, learn, unknown)
