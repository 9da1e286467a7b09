"""The documents of a source, checked as they are read, and digests of them."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, get_args

from lm_lab import registry
from lm_lab.types import DataForm, Document, Side, UserError

SIDES: tuple[Side, ...] = get_args(Side)


class Corpus:
    """The documents of a source with given settings. They are hashed at most once."""

    def __init__(self, name: str, settings: Any) -> None:
        """Loads the source; reads nothing. Raises UserError where there is none of this name."""
        self.name, self.settings = name, settings
        self.source = registry.load("data.sources", name, "config.data.source")

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the documents, as it was when it was first asked for. Raises UserError."""
        return self.hash()

    def hash(self) -> str:
        """A hash of the documents as they are; much cheaper than reading them. Raises UserError."""
        found = self.source.fingerprint(self.settings)
        if not isinstance(found, str):
            raise UserError(
                f"config.data.source: fingerprint of {self.name!r} gives a "
                f"{type(found).__name__}, not text"
            )
        return found

    def read(self) -> Iterator[Document]:
        """The documents. Raises UserError for one that is not what the source provides."""
        for number, document in enumerate(self.source.documents(self.settings), 1):
            fault = _fault(document, self.source.provides)
            if fault:
                raise UserError(
                    f"config.data.source: document {number} of {self.name!r} {fault}; mend the "
                    "source"
                )
            yield document


def _fault(document: Any, kind: DataForm) -> str | None:
    if not isinstance(document, Document):
        return f"is a {type(document).__name__}, not a lm_lab.types.Document"
    if not isinstance(document.name, str) or not isinstance(document.text, str):
        return "has a name or text that is no str"
    if document.split not in (None, *SIDES):
        return f"has the split {document.split!r}, and it must be {', '.join(SIDES)} or None"
    if kind == "pairs" and not isinstance(document.target, str):
        return "has no target, and the source says that it gives pairs"
    if kind == "labelled" and not isinstance(document.label, (int, float)):
        return "has no number as its label, and the source says that it gives labelled texts"
    if kind == "stream" and (document.target is not None or document.label is not None):
        return 'has a target or a label, and the source does not say provides="pairs" or "labelled"'
    return None


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
