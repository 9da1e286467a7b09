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
    rows = _quoted(path, reading, separator) if quotes else _split(path, reading, separator)
    header, width, indices = None, 0, {}
    for number, fields in rows:
        if not fields:
            continue  # a blank line
        if not indices:
            width, header = len(fields), fields if reading.header else None
            indices = {name: column(name, fields, reading, path) for name in reading.fields}
            if header is not None:
                continue
        if width > 1 and fields == [""]:
            continue  # a blank line, where quotes do not count
        if reading.exact and len(fields) != width:
            raise fault(
                reading.key,
                f"{path}:{number} has {len(fields)} columns, and the first line {width}; mend the "
                f"line, or set config.data.source.quotes={not quotes}",
            )
        yield Record(number, _picked(fields, indices, reading, f"{path}:{number}"))


def column(name: str, first: list[str], reading: Reading, path: Path) -> int:
    """The index of a column given by its name in the first row, or by number from 1. Raises
    UserError.
    """
    if reading.header and name in first:
        return first.index(name)
    if name.isdecimal() and int(name) > 0:
        return int(name) - 1
    hint = f"its columns: {', '.join(map(repr, first))}; name one of them"
    if len(first) == 1 and ("\t" in first[0] or ";" in first[0]):
        hint = f"its first line {first[0]!r:.80} has no comma; of tabs set "
        hint += "config.data.source.format=tsv, of semicolons write the file with commas"
    if not reading.header:
        hint = "the file has no header, give a number from 1"
    raise fault(reading.key, f"{path} has no column {name!r}; {hint}")


def _picked(
    fields: list[str], indices: dict[str, int], reading: Reading, where: str
) -> dict[str, str]:
    try:
        return {name: fields[index] for name, index in indices.items()}
    except IndexError:
        columns = max(indices.values()) + 1
        raise fault(
            reading.key,
            f"{where} has {len(fields)} columns, not {columns}; mend the line, or, if other signs "
            "separate them, set the source's form or format",
        ) from None


def _split(path: Path, reading: Reading, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path, reading):
        yield number, line.split(separator)


def _quoted(path: Path, reading: Reading, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows whose quoted fields may hold line ends; the number is that of their last line."""
    last, skipped = 0, False
    decoder = reading.decoder
    before = decoder.count  # the row's lines count as one record

    def text() -> Iterator[str]:
        nonlocal last, skipped
        for last, data in numbered(path, reading):
            decoded = decoder.decode(data, f"{path}:{last}")
            skipped = skipped or decoded is None
            # of a row to skip, too, quotes say where it ends
            yield (data.decode(errors="replace") if decoded is None else decoded) + "\n"

    rows = csv.reader(text(), delimiter=separator, strict=reading.exact)
    try:
        for fields in rows:
            before = decoder.count = min(decoder.count, before + 1)
            if not skipped:
                yield last, fields
            skipped = False
    except csv.Error as error:
        raise fault(
            reading.key,
            f"{path}:{last} is no CSV ({error}); mend the line, or set "
            "config.data.source.quotes=False where quotes have no meaning",
        ) from None
