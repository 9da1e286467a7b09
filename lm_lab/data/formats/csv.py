"""Comma-separated rows; quoted fields may hold commas and line ends."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.formats import Format, Reading, Record
from lm_lab.data.formats._columns import records


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The rows, with the requested columns."""
    return records(path, reading, ",", quotes=True)


FORMAT = Format((".csv",), read)
