"""The page of keys: every key of a config, and which families of models read it."""

import dataclasses
import re
from collections.abc import Iterator
from itertools import groupby

from lm_lab import registry
from lm_lab.cli import key_table
from lm_lab.cli.choice_table import CHOICES, choice_of
from lm_lab.cli.key_table import NO_BREAK, Entry
from lm_lab.train.experiment import Experiment
from tools.pages.markdown import code, plain, table

HEAD = ["key", "default", "meaning", "type, range"]
OPTION = re.compile(r"(?P<key>[\w.]+)\.(?:name|family)=(?P<name>\w+): (?P<about>.*)")
MIXTURE = "data.sources.LABEL"
OPENING = """# Every key of a config

On the command line a key is `--config.SECTION.KEY=VALUE`, in Python and in a point of a sweep
`{"SECTION.KEY": VALUE}`. `lm-lab keys` prints the same. A family, an objective or a source of yours
has the keys of its `Config`.

"""


def page() -> str:
    """The page, from the settings classes that read the keys."""
    sections = [_section(field) for field in dataclasses.fields(Experiment)]
    generate = key_table.section_of("generate")[1:]
    about = "Settings of `lm-lab generate` and of `run.generate`, which are no part of a config."
    sections.append(f"## generate\n\n{about}\n\n{_tables(generate)}")
    return OPENING + "\n".join([families(), *sections, *_choices()])


def _choices() -> Iterator[str]:
    """The keys of an analysis, a searcher and an executor."""
    for name, choice in CHOICES.items():
        yield f"## {name}\n\n{plain(choice.about[0].upper() + choice.about[1:])}.\n"
        for option in registry.names(choice.kind):
            about, *rows = choice_of(f"{name}.{option}")
            label, _, words = about.text.partition(": ")
            keys = _tables(rows) if rows else "It has no settings.\n"
            yield f"### {plain(label)}\n\n{plain(words)}.\n\n{keys}"


def families() -> str:
    """Which family of models reads which key of the section `model`."""
    names = registry.names("models")
    read = {name: _of_family(name) for name in names}
    every = dict.fromkeys(key for keys in read.values() for key in keys)
    rows = [[code(key), *("yes" if key in read[name] else "" for name in names)] for key in every]
    return "## Which family reads which key\n\n" + table(["key", *map(code, names)], rows)


def _of_family(name: str) -> list[str]:
    return [entry.key for entry in key_table.section_of(f"model.{name}") if entry.key]


def _section(field: dataclasses.Field) -> str:
    """The keys of a section, then those of each option of its choices."""
    own = [entry for entry in key_table.section_of(field.name) if entry.key or entry.indent]
    about = field.metadata["doc"]
    parts = [f"## {field.name}\n\n{plain(about).capitalize()}.\n\n{_tables(own)}"]
    for entry in key_table.entries(deep=True):
        found = None if entry.key else OPTION.match(entry.text)
        if found and re.match(rf"{field.name}\b", found["key"]) and found["key"] != MIXTURE:
            parts.append(_option(found))
    if field.name == "data":
        weight = key_table.section_of("data.sources.text")[-1:]
        about = (
            "Each has the settings that it has alone, as `data.sources.LABEL.KEY`, and a weight."
        )
        parts.append(f"### The sources of a mixture\n\n{about}\n\n{_tables(weight)}")
    return "\n".join(parts)


def _option(found: re.Match[str]) -> str:
    name = f"{found['key'].removesuffix('.LABEL')}.{found['name']}"
    rows = key_table.section_of(name)[1:]
    keys = _tables(rows) if rows else "It has no settings.\n"
    return (
        f"### {plain(found['key'])}: {plain(found['name'])}\n\n{plain(found['about'])}.\n\n{keys}"
    )


def _tables(entries: list[Entry]) -> str:
    """The keys, with a table of its own for what is read with one option of a choice."""
    parts: list[str] = []
    for (heading, _), rows in groupby(_under(entries), lambda pair: (pair[0], pair[1].indent)):
        with_option = f"With {code(heading)}:\n\n" if heading else ""
        parts.append(with_option + table(HEAD, (_row(entry) for _, entry in rows)))
    return "\n".join(parts)


def _under(entries: list[Entry]) -> Iterator[tuple[str, Entry]]:
    """Each key with the option that it is read with, or nothing."""
    options: list[str] = []  # by depth of indentation
    for entry in entries:
        options = options[: entry.indent]
        if entry.key:
            yield (options[-1] if options else ""), entry
        elif entry.text.startswith("with "):
            options = [*options[: entry.indent - 1], entry.text[5:].rstrip(":")]


def _row(entry: Entry) -> list[str]:
    values = entry.values.replace(NO_BREAK, " ")
    return [code(entry.key), code(entry.default), plain(entry.text), plain(values)]
