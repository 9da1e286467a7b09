"""ArrayRecord: every record is a text, or a JSON object where reading.json says so."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.faults import fault
from lm_lab.data.formats import Format, Reading, Record
from lm_lab.data.formats._lines import only_text
from lm_lab.data.formats.jsonl import parsed

RECORDS = 256  # read at a time


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The records, numbered from 1."""
    if not reading.json:
        only_text(path, reading)
    for number, data in enumerate(_contents(path, reading.key), 1):
        where = f"{path}:{number}"
        text = reading.decoder.decode(data, where)
        if text is not None:
            fields = parsed(text, where, reading.key) if reading.json else {"text": text}
            yield Record(number, fields)


def _contents(path: Path, key: str) -> Iterator[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader  # only where it is read

    try:
        with contextlib.closing(ArrayRecordReader(str(path), "readahead_buffer_size:0")) as reader:
            count = reader.num_records()
            if not reader.ok() or not count:
                raise fault(key, f"cannot read {path} as ArrayRecord; is it whole?")
            for start in range(0, count, RECORDS):
                yield from reader.read(start, min(start + RECORDS, count))
    except (RuntimeError, ValueError, IndexError) as error:
        raise fault(key, f"cannot read {path} as ArrayRecord ({error}); is it whole?") from None


FORMAT = Format((".array_record", ".arrayrecord"), read, packed=False)
