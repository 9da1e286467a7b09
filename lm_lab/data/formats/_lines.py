"""Lines of text, for several formats."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.compression import unpacked
from lm_lab.data.faults import missing
from lm_lab.data.formats import Reading
from lm_lab.types import UserError


def lines(path: Path, reading: Reading) -> Iterator[tuple[int, str]]:
    r"""(number from 1, line without its end), in constant memory. Lines end in \n or \r\n; a byte
    order mark and empty lines at the end of the file are left out, and so are lines that are not
    UTF-8 where they are to be skipped.
    """
    return ((number, text) for number, text in every(path, reading) if text is not None)


def every(path: Path, reading: Reading) -> Iterator[tuple[int, str | None]]:
    """As `lines`, with None for a line that is to be skipped."""
    empty = 0
    for number, data in numbered(path, reading):
        if not data:
            empty += 1
            continue
        yield from ((number - behind, "") for behind in range(empty, 0, -1))
        empty = 0
        yield number, reading.decoder.decode(data, f"{path}:{number}")


def numbered(path: Path, reading: Reading) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes of the line without its end)."""
    with unpacked(path, reading.key) as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\r\n"):
                line = line[:-2]
            elif line.endswith(b"\n"):
                line = line[:-1]
            yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def only_text(path: Path, reading: Reading) -> None:
    """Raises UserError if a field other than text is requested of plain text."""
    for field in reading.fields:
        if field != "text":
            remedy = "; if it has columns, set config.data.source.format=tsv (or csv, ...)"
            raise UserError(f"{missing(reading.key, field, ['text'], str(path))}{remedy}")
