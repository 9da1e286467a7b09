"""What a source gives: documents. A source is a module of lm_lab/data/sources (or an outside one) with

Config                    frozen dataclass of settings; its fields stand in the `data` section of a run's config
documents(config)         the documents, the same ones in the same order at every call
fingerprint(config)       hex digest that changes when any document, or their order, does; much cheaper than reading
GIVES                     "pairs" or "labelled", where every document is a record by itself; else they are one stream
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol

Reads = Literal["stream", "pairs", "labelled"]
"""What a source gives and an objective reads: one stream of text, or records: pairs of texts, or texts with labels."""


class Document(NamedTuple):
    """A text that stands by itself, and a name that is the same on every machine (a path below the source's root)."""

    name: str
    text: str
    target: str | None = None  # of a pair, whose source is `text`
    label: float | None = None  # a class, as its number, or a value
    heldout: bool | None = None  # the side that the source gives it; None: the split's rule decides


class Source(Protocol):
    """The shape of a source module."""

    Config: type[Any]
    documents: Callable[[Any], Iterator[Document]]
    fingerprint: Callable[[Any], str]


def given(source: ModuleType | Source) -> Reads:
    """What the documents of a source are."""
    return getattr(source, "GIVES", "stream")


def digest(parts: Iterable[bytes | str]) -> str:
    """SHA-256, in hex, of a sequence of parts; each part's length is hashed too, so that no two sequences collide."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()
