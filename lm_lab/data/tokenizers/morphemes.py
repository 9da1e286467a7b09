"""Korean morphemes as kiwipiepy finds them (an extra): those of the training text have an id,
others are spelt in bytes.

A piece is text as it is written, not a lemma: a text is cut where a morpheme begins or ends, and
morphemes that share a syllable ("하" and "었" in "했") are one piece. The spaces before a morpheme
belong to it. So decode(encode(text)) is the text, whatever the analysis.

The analysis is slow, some 0.04 MB of text a second and core, and it is made when the vocabulary is
learnt and again for the token store.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lm_lab.contracts import Tokenizer
from lm_lab.data import extras, normal_forms, subword
from lm_lab.schema import setting
from lm_lab.types import Codec

WHERE = "config.data.tokenizer morphemes"
# Characters that are analysed together; longer lines are cut, so that the analysis stays small.
LONGEST = 2000
AT_ONCE = 512  # texts of the training text that the library gets in one call


@dataclasses.dataclass(frozen=True)
class Config:
    """Which morphemes have their own id."""

    least_count: int = setting("times that a morpheme must stand in the training text", 2, low=1)
    most_pieces: int | None = setting("how many, the most frequent ones; None: all", None, low=1)
    normal_form: normal_forms.Form | None = setting(normal_forms.MEANING, None)


def learn(config: Config, texts: Iterable[str]) -> bytes:
    """The pieces, most frequent first, in alphabetical order among equals.

    Raises UserError without kiwipiepy.
    """
    normalised = iter(normal_forms.in_form(texts, config.normal_form))
    counts = Counter[str]()
    while group := list(itertools.islice(normalised, AT_ONCE)):
        for pieces in _pieces(group):
            counts.update(pieces)
    ranked = sorted(
        (piece for piece in counts if counts[piece] >= config.least_count),
        key=lambda piece: (-counts[piece], piece),
    )
    return subword.dump(ranked[: config.most_pieces])


def make(config: Config, learnt: bytes) -> Codec:
    """The tokenizer; decode(encode(text)) is the text. Raises UserError without kiwipiepy."""
    _analyser()
    codec = subword.build(
        f"morphemes-{_version()}",
        learnt,
        encoder=subword.by_pieces(_pieces, str.encode),
        size=lambda piece: len(piece.encode()),
        join=lambda written: b"".join(written).decode(errors="replace"),
        written=lambda piece: piece.encode(),
        begins_word=_begins_word,
    )
    return normal_forms.behind(codec, config.normal_form)


def unknown(config: Config, learnt: bytes, texts: Iterable[str]) -> tuple[int, int]:
    """(morphemes of the texts without an id, all morphemes)."""
    normalised = iter(normal_forms.in_form(texts, config.normal_form))
    groups = iter(lambda: list(itertools.islice(normalised, AT_ONCE)), [])
    pieces_of_texts = (pieces for group in groups for pieces in _pieces(group))
    return subword.unknown(learnt, itertools.chain.from_iterable(pieces_of_texts))


def _begins_word(piece: str) -> int:
    if piece.startswith(" "):
        return 2
    return int(piece[:1].isalnum() or piece[:1] == "_")


def _pieces(texts: Sequence[str]) -> Iterator[list[str]]:
    """The pieces of each text: analysed by line, on all cores."""
    lines = [_lines(text) for text in texts]
    analysed = _analyser().tokenize([line for part in lines for line in part])
    for part in lines:
        cut = zip(part, itertools.islice(analysed, len(part)))
        yield [piece for line, morphemes in cut for piece in _cut(line, morphemes)]


def _lines(text: str) -> list[str]:
    """The text in parts: each ends behind a line end, and none is too long to be analysed."""
    return [
        line[start : start + LONGEST]
        for line in text.splitlines(keepends=True)
        for start in range(0, len(line), LONGEST)
    ]


def _cut(line: str, morphemes: Any) -> Iterator[str]:
    """A line cut where morphemes begin and end; the spaces between two belong to the second."""
    cuts, last_end = {0, len(line)}, 0
    for start, end in sorted((morpheme.start, morpheme.end) for morpheme in morphemes):
        if start < last_end:  # within the one before
            cuts.discard(last_end)
        else:
            cuts.add(start)
        last_end = min(max(last_end, end), len(line))
        cuts.add(last_end)
    piece_start = 0
    for start, end in itertools.pairwise(sorted(cuts)):
        if line[start:end].isspace() and end < len(line):
            continue
        yield line[piece_start:end]
        piece_start = end


@functools.cache
def _analyser() -> Any:
    """The library's analyser, which takes seconds to load."""
    return extras.imported("kiwipiepy", "tokenizers", WHERE).Kiwi(num_workers=-1)


def _version() -> str:
    """The releases of the library and its model, which decide the analysis."""
    return "-".join(importlib.metadata.version(f"kiwipiepy{part}") for part in ("", "_model"))


TOKENIZER = Tokenizer(Config, make, learn, unknown)
