"""Files of rows: tab- or comma-separated, or aligned lines of several files; one-line errors."""

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_lab.data import files
from lm_lab.data.published import origin
from lm_lab.types import UserError


class Row(NamedTuple):
    """The fields of a line, and its place (file:line)."""

    where: str
    fields: list[str]


def open_file(key: str, path: str) -> Path:
    """The file that a setting names. Raises UserError if it does not exist."""
    file = Path(path).expanduser()
    if not path or not file.is_file():
        raise UserError(
            f"config.data.source.{key}: no file {path!r} (from {Path.cwd()}); give an existing "
            f"one{origin(file)}"
        )
    return file


def lines(key: str, path: str) -> list[str]:
    """The lines of a UTF-8 file without line ends, and without empty lines at its end.

    Raises UserError.
    """
    file = open_file(key, path)
    data = files.read_bytes(file)
    if file.name.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"config.data.source.{key}: cannot unpack {path} ({error}); is it whole?"
            ) from None
    rows = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").split(b"\n")
    found = [files.decode(row, f"{path}:{number}") for number, row in enumerate(rows, 1)]
    while found and not found[-1]:
        found.pop()
    if not found:
        raise UserError(
            f"config.data.source.{key}: {path!r} is empty: it holds no text; give a file that does"
        )
    return found


def tab_separated(key: str, path: str) -> Iterator[Row]:
    """Rows split at tabs; quotes have no meaning."""
    for number, line in enumerate(lines(key, path), 1):
        yield Row(f"{path}:{number}", line.split("\t"))


def comma_separated(key: str, path: str) -> Iterator[Row]:
    """Rows of a CSV file; quoted fields may contain line ends."""
    reader = csv.reader(line + "\n" for line in lines(key, path))
    try:
        for fields in reader:
            yield Row(f"{path}:{reader.line_num}", fields)
    except csv.Error as error:
        raise UserError(
            f"config.data.source.{key}: {path}:{reader.line_num} is no CSV ({error}); mend the line"
        ) from None


def matched(key: str, path: str, pattern: str) -> Iterator[Row]:
    """Rows whose fields are the groups of a regular expression, which must match the whole line."""
    expression = re.compile(pattern)
    for number, line in enumerate(lines(key, path), 1):
        found = expression.fullmatch(line)
        if found is None:
            raise UserError(
                f"config.data.source.{key}: {path}:{number} does not match {pattern!r}; mend the "
                "line or the pattern"
            )
        yield Row(f"{path}:{number}", list(found.groups()))


def side_by_side(key: str, path: str) -> Iterator[Row]:
    """Rows whose fields are the aligned lines of several files, "a.en,b.de"."""
    names = path.split(",")
    columns = [lines(key, name) for name in names]
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{name} {len(column)}" for name, column in zip(names, columns))
        raise UserError(
            f"config.data.source.{key}: the files have unequal numbers of lines ({counts}); give "
            "aligned ones"
        )
    for number, fields in enumerate(zip(*columns), 1):
        yield Row(f"{names[0]}:{number}", list(fields))


def column(name: str, header: list[str] | None, key: str) -> int:
    """The index of a column given by name, or by number from 1. Raises UserError."""
    if header is not None and name in header:
        return header.index(name)
    if name.isdecimal() and int(name) > 0:
        return int(name) - 1
    known = (
        f"its columns: {', '.join(header)}"
        if header
        else "the file has no header, give a number from 1"
    )
    raise UserError(f"config.data.source.{key}: no column {name!r}; {known}")


def field(row: Row, place: int, key: str) -> str:
    """A field of a row. Raises UserError, with file and line, if the row is too short."""
    if place >= len(row.fields):
        raise UserError(
            f"config.data.source.{key}: {row.where} has {len(row.fields)} columns, not "
            f"{place + 1}; mend the line"
        )
    return row.fields[place]
