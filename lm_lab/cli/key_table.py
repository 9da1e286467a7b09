"""The keys of a config as a table of text, from the dataclasses that read them."""

import dataclasses
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from lm_lab.generation.logits import Config as GenerationConfig
from lm_lab.plain import option_name
from lm_lab.schema import suggest
from lm_lab.train.experiment import Experiment
from lm_lab.types import UserError
from lm_lab.values import expected

COLUMNS, KEY_COLUMNS = 100, 32
REQUIRED = "(required)"
NO_BREAK = "\N{NO-BREAK SPACE}"
OTHERS: dict[str, type] = {"generate": GenerationConfig}  # settings that are not in a config


class Entry(NamedTuple):
    """A line of the table: a key with its default and its meaning, or (no key) a heading."""

    key: str  # dotted, as it is set
    default: str
    text: str  # the meaning
    indent: int = 0
    values: str = ""  # what it may be: type, range, names to choose from, when it is read

    @property
    def whole(self) -> str:
        """The meaning, with the values in brackets."""
        return f"{self.text} ({self.values})" if self.values else self.text


def heading(text: str, indent: int = 0) -> Entry:
    """A heading line."""
    return Entry("", "", text, indent)


def section_of(name: str) -> list[Entry]:
    """The keys of a section, or of one option of its choices: "train", "model.decoder",
    "data.source.text". Raises UserError where there is none.
    """
    if name in OTHERS:
        return [heading(first_sentence(OTHERS[name].__doc__)), *entries_of(OTHERS[name], "")]
    cls, prefix, parts = Experiment, "", name.split(".")
    while parts:
        part, *parts = parts
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if part not in fields:
            names = [*fields, *(OTHERS if cls is Experiment else ())]
            raise UserError(f"config.{prefix}{part} does not exist; {suggest(part, names)}")
        field, key = fields[part], f"{prefix}{part}"
        if "section" in field.metadata:
            cls, prefix = field.metadata["section"], f"{key}."
        elif ("modules" in field.metadata or "modules_by_label" in field.metadata) and parts:
            return _of_module(field, ".".join(parts), key)
        else:
            return list(_of_field(field, get_type_hints(cls)[part], prefix))
    return [heading(first_sentence(cls.__doc__)), *entries_of(cls, prefix)]


def _of_module(field: dataclasses.Field, name: str, key: str, indent: int = 0) -> list[Entry]:
    """The keys of a module that a field names."""
    modules = field.metadata.get("modules") or field.metadata["modules_by_label"]
    cls = modules.settings(name, f"config.{key}")
    module = sys.modules[modules.path(name)]
    key = key if "modules" in field.metadata else f"{key}.LABEL"
    about = f"{key}.{field.metadata['tag']}={name}: {first_sentence(module.__doc__)}"
    return [heading(about, indent), *entries_of(cls, f"{key}.", indent)]


def entries(deep: bool = False) -> list[Entry]:
    """The keys of all sections; with `deep` also those of every option of their choices."""
    return list(entries_of(Experiment, "", deep=deep))


def matching(found: list[Entry], word: str) -> list[Entry]:
    """The entries with the word in their key or meaning, below the headings under which they stand,
    each once. Raises UserError where there is none.
    """
    below: dict[Entry | None, list[Entry]] = {}
    headers: list[Entry] = []  # each further in than the one before
    for entry in found:
        own = entry.indent + bool(entry.key)
        headers = [each for each in headers if each.indent < own]
        if not entry.key:
            headers.append(entry)
        elif word.lower() in f"{entry.key} {entry.whole}".lower():
            held = below.setdefault(headers[-1] if headers else None, [])
            held += [entry] if entry not in held else []
    matches = [each for head, held in below.items() for each in ([head] if head else []) + held]
    if not matches:
        raise UserError(f"--grep={word}: no key has that word; lm-lab keys lists the sections")
    return matches


def entries_of(cls: type, prefix: str, indent: int = 0, deep: bool = False) -> Iterator[Entry]:
    """The keys that a settings class reads, each with the prefix; last those by labels, which have
    a heading of their own.
    """
    hints = get_type_hints(cls)
    for field in sorted(dataclasses.fields(cls), key=lambda field: "by_label" in field.metadata):
        yield from _of_field(field, hints[field.name], prefix, indent, deep)


def _of_field(
    field: dataclasses.Field, hint: Any, prefix: str, indent: int = 0, deep: bool = False
) -> Iterator[Entry]:
    """The lines of one field of a settings class."""
    key, about = f"{prefix}{field.name}", field.metadata
    if "section" in about:
        yield heading(f"{key}: {about['doc']}", indent)
        yield from entries_of(about["section"], f"{key}.", indent, deep)
    elif "modules" in about:
        names = about["modules"].names()
        if not prefix:
            yield heading(f"{key}: lm-lab keys {key}.NAME tells what each reads", indent)
        default = about["default_name"] or REQUIRED
        yield Entry(f"{key}.{about['tag']}", default, about["doc"], indent, ", ".join(names))
        for name in names if deep else ():
            yield from _of_module(field, name, key, indent + 1)
    elif "modules_by_label" in about:
        names = about["modules_by_label"].names()
        yield heading(f"{key}: lm-lab keys {key}.NAME tells what each reads", indent)
        own = f"{key}.LABEL.{about['tag']}"
        yield Entry(own, "(none)", about["doc"], indent, ", ".join(names))
        for name in names if deep else ():
            yield from _of_module(field, name, key, indent + 1)
    elif "by_label" in about:
        yield heading(f"{key}.LABEL: {about['doc']}", indent)
        yield from entries_of(about["by_label"], f"{key}.LABEL.", indent, deep)
    elif "options" in about:
        default = option_name(field, field.default)
        shown = "; ".join([", ".join(about["options"]), *_condition(field)])
        yield Entry(f"{key}.name", default, about["doc"], indent, shown)
        for name, settings in about["options"].items():
            if dataclasses.fields(settings):
                yield heading(f"with {key}.name={name}:", indent + 1)
                yield from entries_of(settings, f"{key}.", indent + 1, deep)
    else:
        yield Entry(key, _default(field.default), about["doc"], indent, _kind(field, hint))


def _kind(field: dataclasses.Field, hint: Any) -> str:
    """Type and range, as in "whole number, 1 to 8"."""
    low, above, high = (field.metadata.get(name) for name in ("low", "above", "high"))
    shown = [expected(hint).removeprefix("a ")]
    if low is not None and high is not None:
        shown.append(f"{low:.10g} to {high:.10g}")
    else:
        limits = zip((">=", ">", "<="), (low, above, high))
        shown += [f"{sign}{NO_BREAK}{limit:.10g}" for sign, limit in limits if limit is not None]
    return "; ".join([", ".join(shown), *_condition(field)])


def _condition(field: dataclasses.Field) -> list[str]:
    """The condition under which the field is read, if it has one."""
    condition = field.metadata.get("read_with")
    return [] if condition is None else [f"read with {condition.words} alone"]


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return REQUIRED
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def first_sentence(docstring: str | None) -> str:
    """The first sentence of a docstring, without its full stop."""
    return " ".join((docstring or "").split()).split(". ")[0].removesuffix(".")


def render(found: list[Entry]) -> list[str]:
    """The table, COLUMNS wide: keys on the left, meanings wrapped beside them."""
    lines: list[str] = []
    for entry in found:
        indent = " " * (2 * entry.indent)
        if not entry.key:
            lines += [
                "",
                *textwrap.wrap(
                    entry.text, COLUMNS, initial_indent=indent, subsequent_indent=indent
                ),
            ]
            continue
        left = f"{indent}{entry.key} = {entry.default}"
        if len(left) > KEY_COLUMNS - 2:
            lines.append(left)
            left = ""
        wrapped = textwrap.wrap(entry.whole, COLUMNS - KEY_COLUMNS)
        wrapped = [line.replace(NO_BREAK, " ") for line in wrapped]
        lines.append(f"{left:{KEY_COLUMNS}}{wrapped[0]}")
        lines += [f"{'':{KEY_COLUMNS}}{line}" for line in wrapped[1:]]
    return lines[1:] if lines and not lines[0] else lines
