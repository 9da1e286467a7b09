"""What a source gives: documents. A source is a module of lm_lab/data/sources (or an outside one) with

Config                    frozen dataclass of settings; its fields stand in the `data` section of a run's config
documents(config)         the documents, the same ones in the same order at every call
fingerprint(config)       hex digest that changes when any document, or their order, does; much cheaper than reading
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol


class Document(NamedTuple):
    """A text that stands by itself, and a name that is the same on every machine (a path below the source's root)."""

    name: str
    text: str


class Source(Protocol):
    """The shape of a source module."""

    Config: type[Any]
    documents: Callable[[Any], Iterator[Document]]
    fingerprint: Callable[[Any], str]


def digest(parts: Iterable[bytes | str]) -> str:
    """SHA-256, in hex, of a sequence of parts; each part's length is hashed too, so that no two sequences collide."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()
