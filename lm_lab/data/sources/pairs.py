"""Pairs of texts (source, target): columns of a file, lines of two files or two parts of each line;
also packed files.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from lm_lab.contracts import Source
from lm_lab.data import digests, files, sides
from lm_lab.data.faults import ERRORS, Decoder, Errors, fault
from lm_lab.data.formats import Reading, csv, tsv
from lm_lab.data.formats._lines import every, lines
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
    test_path: str | None = setting(
        "pairs that are kept for the test at the end, in the same form", None, names_file=True
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

    errors: Errors = setting(ERRORS, "refuse")

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
    for key, path, split in _sides(config):
        reading = Reading(
            Decoder(config.errors, key), config.columns, key, header=config.header, exact=False
        )
        yield from files.some(_read(config, reading, path, split), path, reading.decoder)
        reading.decoder.report()


def fingerprint(config: Config) -> str:
    """Digest of the files as stored, and of the settings that decide how they are read."""
    named_files = [
        (f"{key}{number}", file)
        for key, path, _ in _sides(config)
        for number, file in enumerate(_files(config, path, key))
    ]
    settings = (
        config.form,
        config.pattern,
        config.columns,
        config.header,
        config.spell,
        config.unicode,
    )
    return digests.of_files(
        named_files, "pairs", repr(settings), *sides.unless_refused(config.errors)
    )


def as_source(config: Config, text: str) -> str:
    """The text in the form that sources had in training."""
    normalised = text if config.unicode == "given" else unicodedata.normalize(config.unicode, text)
    return _spell(normalised, "source", config)


def _sides(config: Config) -> list[tuple[str, str, Side | None]]:
    return sides.given(config.path, config.heldout_path, config.test_path)


def _files(config: Config, path: str, key: str) -> list[Path]:
    names = path.split(",") if config.form == "lines" else [path]
    return [files.single(name, key) for name in names]


def _read(config: Config, reading: Reading, path: str, split: Side | None) -> Iterator[Document]:
    first, *others = _files(config, path, reading.key)
    for number, *fields in _pairs(config, reading, first, others):
        source, target = (field.strip() for field in fields)
        if not source or not target:
            raise fault(
                reading.key, f"{first}:{number} has an empty source or target; mend the line"
            )
        source, target = as_source(config, source), _spell(target, "target", config)
        yield Document(f"{first.name}:{number}", source, target, split=split)


def _pairs(
    config: Config, reading: Reading, first: Path, others: list[Path]
) -> Iterator[tuple[int, str, str]]:
    """(line, source, target) of a file, or of two aligned ones."""
    if config.form != "lines":
        columns = tsv if config.form == "tabs" else csv
        for number, record in columns.read(first, reading):
            yield number, record[config.columns[0]], record[config.columns[1]]
    elif config.pattern is not None:
        yield from _matched(config.pattern, reading, first)
    elif len(others) == 1:
        yield from _aligned(reading, first, others[0])
    else:
        raise fault(
            reading.key,
            "form 'lines' needs two aligned files as source,target (or a pattern)",
        )


def _matched(pattern: str, reading: Reading, file: Path) -> Iterator[tuple[int, str, str]]:
    expression = re.compile(pattern)
    for number, line in lines(file, reading):
        match = expression.fullmatch(line)
        if match is None:
            raise fault(
                reading.key,
                f"{file}:{number} does not match {pattern!r}; mend the line or the pattern",
            )
        yield number, match[1], match[2]


def _aligned(reading: Reading, first: Path, second: Path) -> Iterator[tuple[int, str, str]]:
    """The lines of two files side by side; a pair is skipped where either line is."""
    counts = [0, 0]
    for pair in zip_longest(every(first, reading), every(second, reading)):
        counts = [before if line is None else line[0] for before, line in zip(counts, pair)]
        if None in pair:
            continue
        (number, source), (_, target) = pair
        if source is not None and target is not None:
            yield number, source, target
    if counts[0] != counts[1]:
        counts_by_file = f"{first} {counts[0]}, {second} {counts[1]}"
        raise fault(
            reading.key,
            f"the files have unequal numbers of lines ({counts_by_file}); give aligned ones",
        )


def _spell(text: str, side: str, config: Config) -> str:
    return " ".join(text) if config.spell in (side, "both") else text


def _groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise UserError(f"pattern {pattern!r} is no regular expression ({error})") from None


SOURCE = Source(Config, documents, fingerprint, provides="pairs", as_source=as_source)
