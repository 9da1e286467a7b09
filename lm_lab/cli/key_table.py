"""The keys of a config as a table of text, from the dataclasses that read them."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from lm_lab.generation.logits import Config as GenerationConfig
from lm_lab.schema import expected, range_text, suggest
from lm_lab.train.sections import Config
from lm_lab.types import UserError

COLUMNS, KEY_COLUMNS = 100, 26
OTHERS: dict[str, type] = {"generate": GenerationConfig}  # settings that are no config's


class Entry(NamedTuple):
    """A line of the table: a key with its meaning, or (no key) a heading."""

    key: str  # dotted, as it is set
    text: str
    indent: int = 0


def section_of(name: str) -> list[Entry]:
    """The keys of a section, or of what one of its choices names: "train", "model.decoder",
    "data.source.text". Raises UserError where there is none.
    """
    if name in OTHERS:
        return [Entry("", _about(OTHERS[name])), *_entries(OTHERS[name], "")]
    cls, prefix, parts = Config, "", name.split(".")
    while parts:
        part, *parts = parts
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if part not in fields:
            known = [*fields, *(OTHERS if cls is Config else ())]
            raise UserError(f"config.{prefix}{part} does not exist; {suggest(part, known)}")
        field, key = fields[part], f"{prefix}{part}"
        if "section" in field.metadata:
            cls, prefix = field.metadata["section"], f"{key}."
            continue
        chosen = ".".join(parts)
        if "modules" in field.metadata and chosen:
            settings = field.metadata["modules"].settings(chosen, key)
            heading = Entry("", f"{key}.{field.metadata['tag']} {chosen}: {_about(settings)}")
            return [heading, *_entries(settings, f"{key}.")]
        return list(_of_field(field, get_type_hints(cls)[part], prefix, deep=True))
    return [Entry("", _about(cls)), *_entries(cls, prefix)]


def entries(deep: bool = False) -> list[Entry]:
    """All sections with what they choose among; `deep`: with the keys of every choice too."""
    return list(_entries(Config, "", deep=deep))


def _entries(cls: type, prefix: str, indent: int = 0, deep: bool = False) -> Iterator[Entry]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield from _of_field(field, hints[field.name], prefix, indent, deep)


def _of_field(
    field: dataclasses.Field, hint: Any, prefix: str, indent: int = 0, deep: bool = False
) -> Iterator[Entry]:
    """The lines of one field of a settings class."""
    key, about = f"{prefix}{field.name}", field.metadata
    if "section" in about:
        yield Entry(key, about["doc"], indent)
        yield from _entries(about["section"], f"{key}.", indent, deep)
    elif "modules" in about:
        names, tag = about["modules"].names(), about["tag"]
        listed = f"{', '.join(names)}{_default(about['default_name'])}"
        yield Entry(f"{key}.{tag}", f"{about['doc']}: {listed}", indent)
        for name in names if deep else ():
            yield Entry("", f"with {name}", indent + 1)
            settings = about["modules"].settings(name, key)
            yield from _entries(settings, f"{key}.", indent + 1, deep)
    elif "options" in about:
        default = next(n for n, cls in about["options"].items() if type(field.default) is cls)
        listed = f"{', '.join(about['options'])}{_default(default)}"
        yield Entry(f"{key}.name", f"{about['doc']}: {listed}", indent)
        for name, settings in about["options"].items():
            if dataclasses.fields(settings):
                yield Entry("", f"with {name}", indent + 1)
                yield from _entries(settings, f"{key}.", indent + 1, deep)
    else:
        yield Entry(key, f"{about['doc']}; {_kind(field, hint)}", indent)


def _kind(field: dataclasses.Field, hint: Any) -> str:
    """Type, range and default."""
    limits = range_text(field.metadata)
    stated = f"{expected(hint)}, {limits}" if limits else expected(hint)
    if field.default is dataclasses.MISSING:
        return f"{stated}; must be given"
    return f"{stated}{_default(field.default)}"


def _default(value: Any) -> str:
    if value is None:
        return ""
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return f" (default {'none' if value == () else shown})"


def _about(cls: type) -> str:
    """The first sentence of a class's docstring."""
    words = " ".join((cls.__doc__ or "").split())
    return words.split(". ")[0].removesuffix(".")


def render(found: list[Entry]) -> list[str]:
    """The table, COLUMNS wide: keys on the left, meanings wrapped beside them."""
    lines = []
    for each in found:
        indent = " " * (2 * each.indent)
        if not each.key:
            lines += ["", *textwrap.wrap(f"{indent}{each.text}", COLUMNS)]
            continue
        left = f"{indent}{each.key}"
        room = COLUMNS - KEY_COLUMNS
        first, *more = textwrap.wrap(each.text, room) or [""]
        if len(left) > KEY_COLUMNS - 2:
            lines.append(left)
            left = ""
        lines.append(f"{left:{KEY_COLUMNS}}{first}".rstrip())
        lines += [f"{'':{KEY_COLUMNS}}{line}" for line in more]
    return lines[1:] if lines and not lines[0] else lines
