"""Plain text: a line is a record, with the field text."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.formats import Format, Reading, Record
from lm_lab.data.formats._lines import lines, only_text


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The lines without their ends."""
    only_text(path, reading)
    return (Record(number, {"text": text}) for number, text in lines(path, reading))


FORMAT = Format((".txt", ".text"), read, by_suffix=False)
