"""Pairs of texts (source, target): columns of a file, lines of two, or parts of a line; .gz too."""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lm_lab.contracts import Source
from lm_lab.data import files, tables
from lm_lab.schema import setting
from lm_lab.types import Document, Side, UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read, and how. Raises UserError for a pattern without two groups."""

    path: str = setting(
        "the pairs to train on: a file, or two aligned ones as source,target", names_file=True
    )
    heldout_path: str | None = setting(
        "the held-out pairs, in the same form; None: a part of the others", None, names_file=True
    )
    form: Literal["tabs", "commas", "lines"] = setting(
        "columns of a file, or lines of two (or of a pattern)", "tabs"
    )
    pattern: str | None = setting(
        "of `lines` of one file: a regular expression, groups source and target", None
    )
    columns: tuple[str, ...] = setting(
        "source and target: names in the header, or numbers from 1", ("1", "2")
    )
    header: bool = setting("whether the first line of a file of columns names them", False)
    spell: Literal["none", "source", "target", "both"] = setting(
        "put spaces between characters of a side", "none"
    )
    unicode: Literal["given", "NFC", "NFD"] = setting(
        "normal form of the sources, before they are spelt", "given"
    )

    def __post_init__(self) -> None:
        """Checks the columns and the pattern."""
        if len(self.columns) != 2:
            raise UserError(
                f"columns must name two, the source and the target, not {len(self.columns)}"
            )
        if self.pattern is not None and (self.form != "lines" or _groups(self.pattern) != 2):
            raise UserError(
                f"pattern {self.pattern!r} must have two groups, source and target, and form be "
                "'lines'"
            )


def documents(config: Config) -> Iterator[Document]:
    """One document a pair, named file:line; the pairs of a held-out file are held out.

    Raises UserError, with file and line, for a line that is not UTF-8, lacks a column, or has an
    empty source or target.
    """
    yield from _read(config, "path", config.path, None if config.heldout_path is None else "train")
    if config.heldout_path is not None:
        yield from _read(config, "heldout_path", config.heldout_path, "heldout")


def fingerprint(config: Config) -> str:
    """Digest of the files as stored, and of the settings that decide how they are read."""
    found = []
    for key, paths in (("path", config.path), ("heldout_path", config.heldout_path)):
        names = [] if paths is None else paths.split(",") if config.form == "lines" else [paths]
        found += [
            (f"{key}{number}", tables.open_file(key, name)) for number, name in enumerate(names)
        ]
    how = (config.form, config.pattern, config.columns, config.header, config.spell, config.unicode)
    return files.fingerprint(found, "pairs", repr(how))


def as_source(config: Config, text: str) -> str:
    """A text in the form that the model was trained on as source."""
    given = text if config.unicode == "given" else unicodedata.normalize(config.unicode, text)
    return _spell(given, "source", config)


def _read(config: Config, key: str, path: str, split: Side | None) -> Iterator[Document]:
    rows, places = _rows(config, key, path), (0, 1)
    if config.form != "lines":
        header = next(rows).fields if config.header else None
        places = tuple(tables.column(name, header, "columns") for name in config.columns)
    for row in rows:
        source, target = (tables.field(row, place, key).strip() for place in places)
        if not source or not target:
            raise UserError(
                f"config.data.source.{key}: {row.where} has an empty source or target; mend the "
                "line"
            )
        file, _, line = row.where.rpartition(":")
        source, target = as_source(config, source), _spell(target, "target", config)
        yield Document(f"{Path(file).name}:{line}", source, target, split=split)


def _rows(config: Config, key: str, path: str) -> Iterator[tables.Row]:
    if config.form == "tabs":
        return tables.tab_separated(key, path)
    if config.form == "commas":
        return tables.comma_separated(key, path)
    if config.pattern is not None:
        return tables.matched(key, path, config.pattern)
    if path.count(",") != 1:
        raise UserError(
            f"config.data.source.{key}: form 'lines' needs two aligned files as source,target (or "
            "a pattern)"
        )
    return tables.side_by_side(key, path)


def _spell(text: str, side: str, config: Config) -> str:
    return " ".join(text) if config.spell in (side, "both") else text


def _groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise UserError(f"pattern {pattern!r} is no regular expression ({error})") from None


SOURCE = Source(Config, documents, fingerprint, provides="pairs", as_source=as_source)
