"""The Unicode characters of the training text, Hangul by syllable or letter; other characters are
spelt in bytes.

decode(encode(text)) is the text in every setting, also with lone letters, old Hangul, and syllables
written as sequences of letters.
"""

import dataclasses
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

from lm_lab.contracts import Tokenizer
from lm_lab.data import normal_forms, subword
from lm_lab.schema import setting
from lm_lab.types import Codec

Hangul = Literal["syllables", "letters", "compatibility"]

SYLLABLES = range(0xAC00, 0xD7A4)
LETTERS = range(0x1100, 0x1200)  # conjoining letters: leads, then vowels, then tails
LEADS = range(0x1100, 0x1160)
VOWELS = range(0x1160, 0x11A8)
MODERN = [
    chr(first + n)
    for first, count in ((0x1100, 19), (0x1161, 21), (0x11A8, 27))
    for n in range(count)
]
# A tail that looks like a lead is the same letter of the compatibility block (U+3131 ...).
_LEAD_FORMS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_TAIL_FORMS = "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
LEAD_OF = {
    chr(0x11A8 + place): chr(0x1100 + _LEAD_FORMS.index(form))
    for place, form in enumerate(_TAIL_FORMS)
    if form in _LEAD_FORMS
}
TAIL_OF = {lead: tail for tail, lead in LEAD_OF.items()}


@dataclasses.dataclass(frozen=True)
class Config:
    """Which characters have their own id."""

    hangul: Hangul = setting(
        "what a Hangul syllable is cut into: nothing, 67 letters (NFD: a consonant at the end is "
        "another one than at the beginning), or 51 (as in the compatibility block: the same one); "
        "letters that stand alone are spelt in bytes: of texts in NFD set normal_form=NFC",
        "syllables",
    )
    least_count: int = setting("times that a character must stand in the training text", 1, low=1)
    normal_form: normal_forms.Form | None = setting(normal_forms.MEANING, None)


def learn(config: Config, texts: Iterable[str]) -> bytes:
    """The characters in order of code points; the letters of Hangul are all among them, or none."""
    counts = Counter[str]()
    for text in normal_forms.in_form(texts, config.normal_form):
        counts.update(text)
    # Syllables are spelt by letters; a letter that stands alone is spelt in bytes (_cut).
    apart = [LETTERS] if config.hangul == "syllables" else [LETTERS, SYLLABLES]
    frequent = {
        piece
        for piece in counts
        if counts[piece] >= config.least_count and not any(ord(piece) in part for part in apart)
    }
    return subword.dump(sorted(frequent.union(_letters(config.hangul))))


def _letters(hangul: Hangul) -> list[str]:
    """The pieces that syllables are cut into."""
    if hangul == "syllables":
        return []
    return [letter for letter in MODERN if hangul == "letters" or letter not in LEAD_OF]


def make(config: Config, learnt: bytes) -> Codec:
    """The tokenizer; decode(encode(text)) is the text, in the normal form if there is one.

    A syllable's bytes count for its first letter; for its vowel where a consonant's id does not say
    whether it is the first.
    """
    counting = VOWELS if config.hangul == "compatibility" else LEADS
    codec = subword.build(
        f"characters-{config.hangul}",
        learnt,
        encoder=subword.by_character(lambda character: _cut(character, config.hangul)),
        size=lambda piece: _size(piece, counting),
        join=lambda written: _join(written, config.hangul),
        written=lambda piece: piece.encode(),
        begins_word=lambda piece: int(piece.isalnum() or piece == "_"),
    )
    return normal_forms.behind(codec, config.normal_form)


def unknown(config: Config, learnt: bytes, texts: Iterable[str]) -> tuple[int, int]:
    """(characters of the texts without an id, all characters)."""
    normalised = normal_forms.in_form(texts, config.normal_form)
    return subword.unknown(
        learnt, (piece for text in normalised for piece, _ in _cut(text, config.hangul))
    )


def _cut(text: str, hangul: Hangul) -> Iterator[tuple[str, bytes]]:
    for character in text:
        if ord(character) in SYLLABLES and hangul != "syllables":
            for letter in unicodedata.normalize("NFD", character):
                piece = LEAD_OF.get(letter, letter) if hangul == "compatibility" else letter
                yield piece, piece.encode()
        elif ord(character) in LETTERS:
            # A letter that stands alone in the text has no piece: it is spelt in bytes, to tell it
            # from a part of a syllable.
            yield "", character.encode()
        else:
            yield character, character.encode()


def _size(piece: str, counting: range) -> int:
    if ord(piece) not in LETTERS:
        return len(piece.encode())
    return 3 if ord(piece) in counting else 0


def _join(written: list[bytes], hangul: Hangul) -> str:
    """Joins letters with ids into syllables; those spelt in bytes stay as they are."""
    parts = itertools.groupby(
        written, key=lambda data: len(data) == 3 and ord(data.decode()) in LETTERS
    )
    texts = ((letters, b"".join(data).decode(errors="replace")) for letters, data in parts)
    return "".join(_syllables(text, hangul) if letters else text for letters, text in texts)


def _syllables(letters: str, hangul: Hangul) -> str:
    """Joins letters into syllables.

    A compatibility consonant after a vowel ends the syllable, unless a vowel follows: then it
    begins the next one.
    """
    if hangul == "compatibility":
        vowels = [False, *(ord(letter) in VOWELS for letter in letters), False]
        letters = "".join(
            TAIL_OF.get(letter, letter) if vowels[place] and not vowels[place + 2] else letter
            for place, letter in enumerate(letters)
        )
    return unicodedata.normalize("NFC", letters)


TOKENIZER = Tokenizer(Config, make, learn, unknown)
