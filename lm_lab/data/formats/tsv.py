"""Tab-separated rows; quotes have no meaning unless reading.quotes says so."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.formats import Format, Reading, Record
from lm_lab.data.formats._columns import records


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The rows, with the requested columns."""
    return records(path, reading, "\t", quotes=False)


FORMAT = Format((".tsv", ".tab"), read)
