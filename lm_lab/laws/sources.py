"""The laws of a source, tried on its first documents."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from lm_lab.contracts import Source
from lm_lab.data.documents import FIELDS
from lm_lab.laws import expect, tiny
from lm_lab.types import Document

FIRST = 100


class Subject(NamedTuple):
    """A source with its settings."""

    source: Source
    config: Any

    def first(self) -> list[Document]:
        """Its first documents, read again at each call."""
        return list(islice(self.source.documents(self.config), FIRST))


def subject(source: Source, settings: Mapping[str, object]) -> Subject:
    """The source with these settings. Raises UserError for wrong ones."""
    return Subject(source, tiny(source.Config, {}, settings))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """All of them."""
    del subject
    return [documents, repeatable, fingerprint]


def documents(subject: Subject) -> None:
    """There are documents, in the form that `provides` says."""
    first_documents = subject.first()
    expect(bool(first_documents), "it gives no documents")
    provides = subject.source.form(subject.config)
    for number, document in enumerate(first_documents, start=1):
        expect(
            isinstance(document, Document),
            f"document {number} is a {type(document).__name__}, not a Document",
        )
        for field in FIELDS[provides]:
            is_set = getattr(document, field) is not None
            expect(is_set, f"document {number} has no {field}, though provides is {provides!r}")


def repeatable(subject: Subject) -> None:
    """The same documents come in the same order at every call."""
    one, other = subject.first(), subject.first()
    expect(len(one) == len(other), f"{len(one)} documents come, then {len(other)}")
    for number, (first, second) in enumerate(zip(one, other, strict=True), start=1):
        expect(
            first == second,
            f"document {number} is {first.name!r}, then {second.name!r} or of another text; sort, "
            "and draw from a seed",
        )


def fingerprint(subject: Subject) -> None:
    """The fingerprint is a text, and the same at every call."""
    one, other = (subject.source.fingerprint(subject.config) for _ in range(2))
    expect(isinstance(one, str) and bool(one), f"the fingerprint is {one!r}, not a hex digest")
    expect(one == other, f"the fingerprint is {one!r}, then {other!r}")
