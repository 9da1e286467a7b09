"""Arrow's files and streams, mapped into memory; Hugging Face datasets saves such streams."""

from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.faults import fault
from lm_lab.data.formats import Format, Reading, Record


def read(path: Path, reading: Reading) -> Iterator[Record]:
    """The rows."""
    import pyarrow as pa  # slow to import

    from lm_lab.data.formats._tables import arrow_batches, columns, records

    try:
        with pa.memory_map(str(path)) as file:
            schema, batches = arrow_batches(file)
            names = columns(schema.names, reading, path)
            yield from records(batches, names, reading, path)
    except (OSError, pa.ArrowException) as error:
        raise fault(reading.key, f"cannot read {path} as Arrow ({error}); is it whole?") from None


FORMAT = Format((".arrow", ".feather"), read, packed=False)
