"""Rows of Arrow tables, for Parquet and Arrow files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_lab.data.faults import missing
from lm_lab.data.formats import Reading, Record

ROWS = 1024  # rows converted to Python objects at a time


def columns(names: list[str], reading: Reading, path: Path) -> list[str]:
    """The columns that hold the requested fields: "translation.en" is a part of "translation".
    Raises UserError for one that the file lacks.
    """
    needed = []
    for field in reading.fields:
        column = field if field in names else field.partition(".")[0]
        if column not in names:
            raise missing(reading.key, field, names, str(path))
        needed.append(column)
    return list(dict.fromkeys(needed))


def records(
    batches: Iterable[pa.RecordBatch], names: list[str], reading: Reading, path: Path
) -> Iterator[Record]:
    """The rows of batches, by these columns; the number is that of the row, from 1."""
    done = 0
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            part = batch.slice(start, ROWS)
            values = [_values(part.column(name), reading, path, done + start) for name in names]
            for number, row in enumerate(zip(*values), done + start + 1):
                if _SKIPPED not in row:
                    yield Record(number, dict(zip(names, row)))
        done += batch.num_rows


def arrow_batches(file: pa.MemoryMappedFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Schema and batches of an Arrow file, or of a stream. Raises ArrowInvalid for any other
    file.
    """
    try:
        table = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        return stream.schema, iter(stream)
    return table.schema, map(table.get_batch, range(table.num_record_batches))


_SKIPPED = object()  # stands for bytes that are not UTF-8; the row is left out


def _values(column: pa.Array, reading: Reading, path: Path, before: int) -> list[Any]:
    """The values of a column; bytes are texts."""
    if not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type):
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            column = column.cast(pa.large_binary())
    values = []
    for number, data in enumerate(column.to_pylist(), before + 1):
        text = None if data is None else reading.decoder.decode(data, f"{path}:{number}")
        values.append(_SKIPPED if text is None and data is not None else text)
    return values
