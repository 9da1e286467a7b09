"""Named fields of records, and the documents that are made of them."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from lm_lab.data.faults import fault, missing, say_once
from lm_lab.schema import setting
from lm_lab.types import DataForm, Document, Side, UserError

Name = str | tuple[str, ...]

# settings that go together -> the form of the documents that they make
FORMS: dict[frozenset[str], DataForm] = {
    frozenset(): "stream",
    frozenset({"text"}): "stream",
    frozenset({"label"}): "labelled",
    frozenset({"text", "label"}): "labelled",
    frozenset({"source", "target"}): "pairs",
    frozenset({"prompt", "response"}): "pairs",
    frozenset({"chosen", "rejected"}): "preferences",
    frozenset({"prompt", "chosen", "rejected"}): "preferences",
}
DEFAULT_TEXT = "text"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
    """Which fields of a record are read; they decide what a source provides. Raises UserError for
    fields that do not go together.
    """

    text: Name | None = setting(
        "the field of the text, or several that are joined by line ends; None: text", None
    )
    label: str | None = setting("of labelled texts, the field of the class or value", None)
    classes: tuple[str, ...] = setting(
        "of labels that are names, the classes from 0 on; (): labels are numbers", ()
    )
    source: str | None = setting("of pairs, the field of the source", None)
    target: str | None = setting("of pairs, the field of the target", None)
    prompt: str | None = setting("of pairs or preferences, the field of the prompt", None)
    response: str | None = setting("of pairs, the field of the answer to the prompt", None)
    chosen: str | None = setting("of preferences, the field of the answer that is preferred", None)
    rejected: str | None = setting("of preferences, the field of the other answer", None)

    group: str | None = setting(
        "the field by which documents go to one side together, as an author or an article, where "
        "the split is by hash; None: only copies of a text do",
        None,
    )

    def __post_init__(self) -> None:
        """Checks that the fields go together."""
        if self._given() not in FORMS:
            raise UserError(
                f"the fields {', '.join(sorted(self._given()))} do not go together; name text, "
                "text and label, source and target, prompt and response, or prompt, chosen and "
                "rejected"
            )
        if self.classes and self.label is None:
            raise UserError("classes are read with label; name the field of the labels")

    def _given(self) -> frozenset[str]:
        values = {
            "text": self.text,
            "label": self.label,
            "source": self.source,
            "target": self.target,
            "prompt": self.prompt,
            "response": self.response,
            "chosen": self.chosen,
            "rejected": self.rejected,
        }
        return frozenset(name for name, value in values.items() if value is not None)

    @property
    def form(self) -> DataForm:
        """The form of the documents that the fields make."""
        return FORMS[self._given()]

    @property
    def texts(self) -> dict[str, Name | None]:
        """The field of each text of a document, by the setting that names it: that of
        Document.text, of target, and of rejected.
        """
        if self.form == "pairs" and self.source is not None:
            return {"source": self.source, "target": self.target}
        if self.form == "pairs":
            return {"prompt": self.prompt, "response": self.response}
        if self.form == "preferences":
            return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}
        return {"text": self.text or DEFAULT_TEXT}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all fields that are read."""
        texts = [name for value in self.texts.values() for name in _tuple(value)]
        return tuple(dict.fromkeys([*texts, *_tuple(self.label), *_tuple(self.group)]))


def _tuple(name: Name | None) -> tuple[str, ...]:
    return () if name is None else (name,) if isinstance(name, str) else name


class Maker:
    """Makes documents of records, and counts the records that are left out."""

    def __init__(self, fields: Fields) -> None:
        """Reads the fields that a source's settings name."""
        self._fields, self._form = fields, fields.form
        self._texts = [(key, _tuple(name)) for key, name in fields.texts.items()]
        self._empty, self._first = 0, ""

    def make(
        self, record: Mapping[str, Any], name: str, where: Callable[[], str], split: Side | None
    ) -> Document | None:
        """The document of a record; None for a stream's or label's empty text, which is left out.

        Raises UserError, with the place, for a field that is missing or of another type, and for
        an empty text of a pair or preference.
        """
        first, *other_texts = [
            "\n".join([_text(record, field, key, where) for field in names])
            for key, names in self._texts
        ]
        if self._form in ("pairs", "preferences"):
            for (key, names), text in zip(self._texts, [first, *other_texts]):
                if not text and names:
                    raise fault(key, f"{where()} has an empty {names[0]!r}; mend or leave it out")
            target, rejected = (*other_texts, None)[:2]
            group = self._group(record, where)
            return Document(name, first, target, rejected=rejected, split=split, group=group)
        if not first.strip():
            self._empty += 1
            self._first = self._first or where()
            return None
        label = self._label(record, where) if self._form == "labelled" else None
        return Document(name, first, label=label, split=split, group=self._group(record, where))

    def report(self) -> None:
        """Says on stderr how many records had no text, and where the first is."""
        if self._empty:
            say_once(f"{self._empty} records without text are left out, first {self._first}")

    def _group(self, record: Mapping[str, Any], where: Callable[[], str]) -> str | None:
        if self._fields.group is None:
            return None
        value = _value(record, self._fields.group, "group", where)
        return None if value is None else str(value)

    def _label(self, record: Mapping[str, Any], where: Callable[[], str]) -> float:
        assert self._fields.label is not None
        value, classes = _value(record, self._fields.label, "label", where), self._fields.classes
        if classes:
            if value not in classes:
                raise fault(
                    "classes",
                    f"{where()} has the label {value!r:.40}; the classes: {', '.join(classes)} "
                    "(of labels that are numbers leave classes out)",
                )
            return float(classes.index(value))
        try:
            number = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise fault(
                "label",
                f"{where()} has the label {value!r:.40}, and it must be a number; mend it, or name "
                "the classes in config.data.source.classes",
            )
        return number


def _text(record: Mapping[str, Any], name: str, key: str, where: Callable[[], str]) -> str:
    """A field that is text; an empty one for null."""
    value = _value(record, name, key, where)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    remedy = ""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        remedy = (
            "; write each turn of the assistant as a record of its own, prompt (all turns before "
            "it) and response, and name these two (docs/data.md, Chats)"
        )
    raise fault(key, f"{where()}: {name!r} must be text, not {value!r:.40}{remedy}")


def _value(record: Mapping[str, Any], name: str, key: str, where: Callable[[], str]) -> Any:
    """A field; "translation.en" is the field en of translation, where no field has that name, and
    None where translation is.
    """
    if name in record:
        return record[name]
    node: Any = record
    for part in name.split("."):
        if node is None:
            return None
        if not isinstance(node, Mapping) or part not in node:
            names = list(node) if isinstance(node, Mapping) else []
            raise missing(key, name, names, where())
        node = node[part]
    return node
