"""The documents of a source, checked as they are read, and digests of them."""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, get_args

from lm_lab import registry
from lm_lab.data.faults import SOURCE
from lm_lab.types import DataForm, Document, Side, UserError

SIDES: tuple[Side, ...] = get_args(Side)

# the fields that a document has beside its name and text, by what its source provides
FIELDS: dict[DataForm, tuple[str, ...]] = {
    "stream": (),
    "pairs": ("target",),
    "labelled": ("label",),
    "preferences": ("target", "rejected"),
}
FIELD_TYPES = {"target": str, "label": (int, float), "rejected": str}
ABSENT = (None, None, None)


class Corpus:
    """The documents of a source with given settings, which are hashed at most once."""

    def __init__(self, name: str, settings: Any, key: str = SOURCE) -> None:
        """Loads the source; reads nothing. `key` is that of the source in the config, for errors.
        Raises UserError where there is none of this name.
        """
        self.name, self.settings, self.key = name, settings, key
        self.source = registry.load("data.sources", name, key)

    @cached_property
    def form(self) -> DataForm:
        """The form of the documents: a stream, or records of a kind."""
        return self.source.form(self.settings)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the documents at the time of the first call. Raises UserError."""
        return self.hash()

    def hash(self) -> str:
        """A hash of the documents at the time of this call; much cheaper than reading them. Raises
        UserError.
        """
        with errors_at(self.key):
            value = self.source.fingerprint(self.settings)
        if not isinstance(value, str):
            raise UserError(
                f"{self.key}: fingerprint of {self.name!r} gives a {type(value).__name__}, not text"
            )
        return value

    def read(self) -> Iterator[Document]:
        """The documents. Raises UserError for one that is not what the source provides."""
        with errors_at(self.key):
            for number, document in enumerate(self.source.documents(self.settings), 1):
                fault = _fault(document, self.form)
                if fault:
                    raise UserError(
                        f"{SOURCE}: document {number} of {self.name!r} {fault}; mend the source"
                    )
                yield document


@contextlib.contextmanager
def errors_at(key: str) -> Iterator[None]:
    """Within the block, errors about `config.data.source` name this key instead."""
    try:
        yield
    except UserError as error:
        if key == SOURCE:
            raise
        raise UserError(re.sub(rf"{SOURCE}(?!s)", key, str(error))) from None


def _fault(document: Any, kind: DataForm) -> str | None:
    if not isinstance(document, Document):
        return f"is a {type(document).__name__}, not a lm_lab.types.Document"
    if not isinstance(document.name, str) or not isinstance(document.text, str):
        return "has a name or text that is no str"
    if document.split not in (None, *SIDES):
        return f"has the split {document.split!r}, and it must be {', '.join(SIDES)} or None"
    if document.group is not None and not isinstance(document.group, str):
        return f"has the group {document.group!r:.40}, and it must be text or None"
    for field in FIELDS[kind]:
        if not isinstance(value := getattr(document, field), FIELD_TYPES[field]):
            return f"has the {field} {value!r:.40}, and the source says that it provides {kind}"
    if kind == "stream" and (document.target, document.label, document.rejected) != ABSENT:
        extra = next(field for field in FIELD_TYPES if getattr(document, field) is not None)
        return f"has a {extra}, and the source says that it provides a stream"
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
