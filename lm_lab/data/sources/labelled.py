"""Texts with a number as label (class or value): columns of a
file, tab- or comma-separated, or .gz.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lm_lab.contracts import Source
from lm_lab.data import files, tables
from lm_lab.schema import setting
from lm_lab.types import Document, Side, UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read, and what in them."""

    path: str = setting("the texts to train on: a file", names_file=True)
    heldout_path: str | None = setting(
        "the held-out texts, in the same form; None: a part of the others", None, names_file=True
    )
    form: Literal["tabs", "commas"] = setting(
        "what separates columns; quotes count with commas only", "tabs"
    )
    text: tuple[str, ...] = setting(
        "columns joined by line ends: names in the header, or numbers from 1", ("1",)
    )
    label: str = setting("the column of the label", "2")
    header: bool = setting("whether the first line names the columns", False)


def documents(config: Config) -> Iterator[Document]:
    """One document a line, named file:line; empty texts are skipped.

    Raises UserError, with file and line, for a line that is not UTF-8, lacks a column, or whose
    label is no number.
    """
    yield from _read(config, "path", config.path, None if config.heldout_path is None else "train")
    if config.heldout_path is not None:
        yield from _read(config, "heldout_path", config.heldout_path, "heldout")


def fingerprint(config: Config) -> str:
    """Digest of the files as stored, and of the settings that decide how they are read."""
    keys = {"path": config.path, "heldout_path": config.heldout_path}
    found = [(key, tables.open_file(key, path)) for key, path in keys.items() if path is not None]
    return files.fingerprint(
        found, "labelled", repr((config.form, config.text, config.label, config.header))
    )


def _read(config: Config, key: str, path: str, split: Side | None) -> Iterator[Document]:
    rows = (tables.tab_separated if config.form == "tabs" else tables.comma_separated)(key, path)
    header = next(rows).fields if config.header else None
    places = [tables.column(name, header, "text") for name in config.text]
    place = tables.column(config.label, header, "label")
    for row in rows:
        text = "\n".join(tables.field(row, each, key) for each in places)
        label = _number(tables.field(row, place, key), f"config.data.source.{key}: {row.where}")
        file, _, line = row.where.rpartition(":")
        if text.strip():
            yield Document(f"{Path(file).name}:{line}", text, label=label, split=split)


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{where} has the label {text!r}, and it must be a number; mend it or "
            "config.data.source.label"
        )
    return number


SOURCE = Source(Config, documents, fingerprint, provides="labelled")
