"""Texts with a number as label (class or value): columns of a
file, tab- or comma-separated, also .gz, .xz or .zst.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

from lm_lab.contracts import Source
from lm_lab.data import digests, files, sides
from lm_lab.data.faults import ERRORS, Decoder, Errors
from lm_lab.data.formats import Reading, csv, tsv
from lm_lab.schema import setting
from lm_lab.types import Document, Side, UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read, and what in them."""

    path: str = setting("the texts to train on: a file", names_file=True)
    heldout_path: str | None = setting(
        "the held-out texts, in the same form; None: a part of the others", None, names_file=True
    )
    test_path: str | None = setting(
        "texts that are kept for the test at the end, in the same form", None, names_file=True
    )
    form: Literal["tabs", "commas"] = setting(
        "what separates columns; quotes count with commas only", "tabs"
    )
    text: tuple[str, ...] = setting(
        "columns joined by line ends: names in the header, or numbers from 1", ("1",)
    )
    label: str = setting("the column of the label", "2")
    header: bool = setting("whether the first line names the columns", False)
    errors: Errors = setting(ERRORS, "refuse")


def documents(config: Config) -> Iterator[Document]:
    """One document a line, named file:line; empty texts are skipped.

    Raises UserError, with file and line, for a line that is not UTF-8, lacks a column, or whose
    label is no number.
    """
    for key, path, split in _sides(config):
        names = tuple(dict.fromkeys([*config.text, config.label]))
        decoder = Decoder(config.errors, key)
        reading = Reading(decoder, names, key, header=config.header, exact=False)
        yield from files.some(_read(config, reading, path, split), path, reading.decoder)
        decoder.report()


def fingerprint(config: Config) -> str:
    """Digest of the files as stored, and of the settings that decide how they are read."""
    files_by_key = [(key, files.single(path, key)) for key, path, _ in _sides(config)]
    settings = repr((config.form, config.text, config.label, config.header))
    return digests.of_files(
        files_by_key, "labelled", settings, *sides.unless_refused(config.errors)
    )


def _sides(config: Config) -> list[tuple[str, str, Side | None]]:
    return sides.given(config.path, config.heldout_path, config.test_path)


def _read(config: Config, reading: Reading, path: str, split: Side | None) -> Iterator[Document]:
    file = files.single(path, reading.key)
    columns = tsv if config.form == "tabs" else csv
    for number, record in columns.read(file, reading):
        text = "\n".join(record[name] for name in config.text)
        label = _number(record[config.label], f"config.data.source.{reading.key}: {file}:{number}")
        if text.strip():
            yield Document(f"{file.name}:{number}", text, label=label, split=split)


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
