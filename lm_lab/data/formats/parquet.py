"""Parquet: row groups are streamed, and only the columns asked for are read."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.faults import fault
from lm_lab.data.formats import Format, Reading, Record
from lm_lab.runs.reading import open_to_read


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The rows."""
    import pyarrow as pa  # slow to import
    from pyarrow import parquet

    from lm_lab.data.formats._tables import ROWS, columns, records

    try:
        with open_to_read(path) as file, parquet.ParquetFile(file) as table:
            names = columns(table.schema_arrow.names, reading, path)
            batches = table.iter_batches(ROWS, columns=names, use_threads=False)
            yield from records(batches, names, reading, path)
    except (OSError, pa.ArrowException) as error:
        raise fault(reading.key, f"cannot read {path} as Parquet ({error}); is it whole?") from None


FORMAT = Format((".parquet",), read, packed=False)
