"""Plain text: a file is one record, with the field text."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.compression import unpacked
from lm_lab.data.formats import Format, Reading, Record
from lm_lab.data.formats._lines import only_text


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The whole file, without any translation; it must fit into memory."""
    only_text(path, reading)
    with unpacked(path, reading.key) as file:
        text = reading.decoder.decode(file.read(), str(path))
    if text is not None:
        yield Record(1, {"text": text})


FORMAT = Format((".txt", ".text"), read, whole=True)
