"""What a source gives: documents. A source is a module of lm_lab/data/sources (or an outside one)
with

Config                    frozen dataclass of settings; its fields stand in the `data` section of a run's config
documents(config)         the documents, the same ones in the same order at every call
fingerprint(config)       hex digest that changes when any document, or their order, does; much cheaper than reading
GIVES                     "pairs" or "labelled", where every document is a record by itself; else they are one stream
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Protocol

from lm_lab.types import DataForm, Document, UserError


class Source(Protocol):
    """The shape of a source module."""

    Config: type[Any]
    documents: Callable[[Any], Iterator[Document]]
    fingerprint: Callable[[Any], str]


def given(source: ModuleType | Source) -> DataForm:
    """What the documents of a source are."""
    return getattr(source, "GIVES", "stream")


def read(source: ModuleType | Source, config: Any) -> Iterator[Document]:
    """The documents of a source. Raises UserError for one that is not what the source says that it
    gives.
    """
    kind = given(source)
    for number, document in enumerate(source.documents(config), 1):
        fault = _fault(document, kind)
        if fault:
            raise UserError(
                f"config.data.source: document {number} of {_name(source)!r} {fault}; mend the "
                "source"
            )
        yield document


def fingerprint(source: ModuleType | Source, config: Any) -> str:
    """What the source says of its text. Raises UserError where that is no text."""
    found = source.fingerprint(config)
    if not isinstance(found, str):
        raise UserError(
            f"config.data.source: fingerprint of {_name(source)!r} gives a "
            f"{type(found).__name__}, not text"
        )
    return found


def _fault(document: Any, kind: DataForm) -> str | None:
    if not isinstance(document, Document):
        return f"is a {type(document).__name__}, not a lm_lab.data.documents.Document"
    if not isinstance(document.name, str) or not isinstance(document.text, str):
        return "has a name or text that is no str"
    if kind == "pairs" and not isinstance(document.target, str):
        return "has no target, and the source says that it gives pairs"
    if kind == "labelled" and not isinstance(document.label, (int, float)):
        return "has no number as its label, and the source says that it gives labelled texts"
    if kind == "stream" and (document.target is not None or document.label is not None):
        return 'has a target or a label, and the source does not say GIVES = "pairs" or "labelled"'
    return None


def _name(source: ModuleType | Source) -> str:
    return getattr(source, "__name__", type(source).__name__)


def digest(parts: Iterable[bytes | str]) -> str:
    """SHA-256, in hex, of a sequence of parts; each part's length is hashed too, so that no two
    sequences collide.
    """
    total = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()
