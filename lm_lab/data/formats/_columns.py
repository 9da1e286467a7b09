"""Rows of fields between separators, for csv and tsv."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.faults import fault
from lm_lab.data.formats import Reading, Record
from lm_lab.data.formats._lines import lines, numbered

csv.field_size_limit(sys.maxsize)  # a document may be longer than the usual 128 KiB


def records(path: Path, reading: Reading, separator: str, *, quotes: bool) -> Iterator[Record]:
    """The requested fields of every row: by their names in the header, or by number from 1. Raises
    UserError, with file and line, for a field that is not there.
    """
    quotes = quotes if reading.quotes is None else reading.quotes
    found = _quoted(path, reading, separator) if quotes else _split(path, reading, separator)
    header, width, places = None, 0, {}
    for number, fields in found:
        if not places:
            width, header = len(fields), fields if reading.header else None
            places = {name: column(name, fields, reading, path) for name in reading.fields}
            if header is not None:
                continue
        if width > 1 and fields in ([], [""]):
            continue  # a blank line
        if reading.exact and len(fields) != width:
            raise fault(
                reading.key,
                f"{path}:{number} has {len(fields)} columns, and the first line {width}; mend the "
                f"line, or set config.data.source.quotes={not quotes}",
            )
        yield Record(number, _picked(fields, places, reading, f"{path}:{number}"))


def column(name: str, first: list[str], reading: Reading, path: Path) -> int:
    """The index of a column given by its name in the first row, or by number from 1. Raises
    UserError.
    """
    if reading.header and name in first:
        return first.index(name)
    if name.isdecimal() and int(name) > 0:
        return int(name) - 1
    known = f"its columns: {', '.join(first)}"
    if not reading.header:
        known = "the file has no header, give a number from 1"
    raise fault(reading.key, f"{path} has no column {name!r}; {known}")


def _picked(
    fields: list[str], places: dict[str, int], reading: Reading, where: str
) -> dict[str, str]:
    try:
        return {name: fields[place] for name, place in places.items()}
    except IndexError:
        wanted = max(places.values()) + 1
        raise fault(
            reading.key, f"{where} has {len(fields)} columns, not {wanted}; mend the line"
        ) from None


def _split(path: Path, reading: Reading, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path, reading):
        yield number, line.split(separator)


def _quoted(path: Path, reading: Reading, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows whose quoted fields may hold line ends; the number is that of their last line."""
    last, skipped = 0, False

    def text() -> Iterator[str]:
        nonlocal last, skipped
        for last, data in numbered(path, reading):
            decoded = reading.decoder.decode(data, f"{path}:{last}")
            skipped = skipped or decoded is None
            yield ("" if decoded is None else decoded) + "\n"

    rows = csv.reader(text(), delimiter=separator, strict=reading.exact)
    try:
        for fields in rows:
            if not skipped:
                yield last, fields
            skipped = False
    except csv.Error as error:
        raise fault(
            reading.key,
            f"{path}:{last} is no CSV ({error}); mend the line, or set "
            "config.data.source.quotes=False where quotes have no meaning",
        ) from None
