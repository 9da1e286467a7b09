"""The laws of a tokenizer, tried on texts in English, Korean, code and signs."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lm_lab.contracts import Tokenizer
from lm_lab.laws import expect, tiny
from lm_lab.types import Codec

TEXTS = (
    "The quick brown fox jumps over the lazy dog. It cost 3.50, did it not?",
    "나는 오늘 아침에 학교에 갔다. 값은 삼천 원이었다.",
    "def area(width, height):\n    return width * height  # of a box\n",
    "naïve café, 日本語, ∑ x² ≥ 0, 👩‍🔬🚀",
    "",
)


@dataclass(frozen=True)
class Subject:
    """A tokenizer with its settings, trained on the texts of this file if it learns."""

    tokenizer: Tokenizer
    config: Any

    @cached_property
    def learnt(self) -> bytes:
        """The result of its `learn`; b"" if it has none."""
        learn = self.tokenizer.learn
        return b"" if learn is None else learn(self.config, TEXTS)

    @cached_property
    def codec(self) -> Codec:
        """The open tokenizer."""
        return self.tokenizer.make(self.config, self.learnt)

    def read(self, text: str) -> str:
        """The text after encoding and decoding."""
        return self.codec.decode(self.codec.encode(text))


def subject(tokenizer: Tokenizer, settings: Mapping[str, object]) -> Subject:
    """The tokenizer with these settings. Raises UserError for wrong ones."""
    return Subject(tokenizer, tiny(tokenizer.Config, {}, settings))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """Those that apply to the tokenizer."""
    applicable = [tables, ids, round_trip, sizes]
    return [*applicable, learning] if subject.tokenizer.learn is not None else applicable


def tables(subject: Subject) -> None:
    """`make` gives a Codec whose tables have an entry for each id."""
    codec = subject.codec
    expect(isinstance(codec, Codec), f"make gives a {type(codec).__name__}, not a Codec")
    for name, table in (
        ("bytes_of", codec.bytes_of),
        ("words", codec.words),
        ("sentence_ends", codec.sentence_ends),
    ):
        expect(len(table) == codec.vocab, f"{name} has {len(table)} rows, not vocab {codec.vocab}")


def ids(subject: Subject) -> None:
    """Ids are below vocab, never end_of_document, and the same at every call."""
    codec = subject.codec
    for text in TEXTS:
        encoded = np.asarray(codec.encode(text))
        high = int(encoded.max(initial=0))
        expect(high < codec.vocab, f"{text[:12]!r} has id {high}, and vocab is {codec.vocab}")
        expect(codec.end_of_document not in encoded, f"{text[:12]!r} has the id end_of_document")
        expect(
            encoded.tolist() == np.asarray(codec.encode(text)).tolist(),
            f"{text[:12]!r} has other ids at a second call",
        )


def round_trip(subject: Subject) -> None:
    """decode(encode(text)) is the text, but for capitals, accents and spaces."""
    for text in TEXTS:
        decoded = subject.read(text)
        start = next(
            (index for index, pair in enumerate(zip(text, decoded)) if pair[0] != pair[1]), 0
        )
        expect(
            _letters(decoded) == _letters(text) and subject.read(decoded) == decoded,
            f"{text[start : start + 12]!r} comes back as {decoded[start : start + 12]!r}, "
            f"{len(text)} characters as {len(decoded)}",
        )


def sizes(subject: Subject) -> None:
    """The bytes of the ids add up to those of the text in UTF-8."""
    codec = subject.codec
    for text in TEXTS:
        count = int(codec.bytes_of[codec.encode(text)].astype(np.int64).sum())
        allowed = {len(form.encode()) for form in (text, subject.read(text))}
        # A tokenizer of words counts the separator after the last one.
        expect(
            bool(allowed & {count, count - 1}),
            f"{text[:12]!r} has {len(text.encode())} bytes, and its ids {count}; see bytes_of",
        )


def learning(subject: Subject) -> None:
    """The same texts give the same result of `learn`."""
    learn = subject.tokenizer.learn
    assert learn is not None
    expect(learn(subject.config, TEXTS) == subject.learnt, "learn gives something else again")


def _letters(text: str) -> str:
    """A text without case, accents and spaces, which normalisation may change."""
    wide = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in wide if not unicodedata.combining(c) and not c.isspace())
