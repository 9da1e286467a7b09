"""Rows of Arrow tables, for Parquet and Arrow files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_lab.data.faults import fault, missing
from lm_lab.data.formats import Reading, Record

ROWS = 1024  # rows converted to Python objects at a time


def columns(names: list[str], reading: Reading, path: Path) -> list[str]:
    """The columns that hold the requested fields: "translation.en" is a part of "translation".
    Raises UserError for one that the file lacks, or has twice.
    """
    needed = []
    for field in reading.fields:
        column = field if field in names else field.partition(".")[0]
        if column not in names:
            raise missing(reading.key, field, names, str(path))
        if names.count(column) > 1:
            raise fault(reading.key, f"{path} has the column {column!r} twice; rename one of them")
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
            values = [_values(part.column(name)) for name in names]
            for number, row in enumerate(zip(*values), done + start + 1):
                where = f"{path}:{number}"
                fields = reading.decoder.decode_all(dict(zip(names, row)), where)
                if fields is not None:
                    yield Record(number, fields)
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


def _values(column: pa.Array) -> list[Any]:
    """The values of a column; those of one with texts that are not UTF-8 as bytes."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return column.cast(pa.large_binary()).to_pylist()
