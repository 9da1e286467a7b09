"""Files of records in every format, written by the libraries that define them."""

import gzip
import json
import lzma

import pytest


def _packed(path, data):
    import pyarrow as pa

    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(data)
        return
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))


def _columns(rows, separator):
    lines = [separator.join(rows[0]), *(separator.join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def write_records():
    """write(path, rows): rows, mappings, in the format and packing that the suffixes of the path
    say.
    """

    def write(path, rows):
        import pyarrow as pa
        from array_record.python.array_record_module import ArrayRecordWriter
        from pyarrow import parquet

        name = path.name
        if ".parquet" in name:
            parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        elif ".arrow" in name:
            table = pa.Table.from_pylist(rows)
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
                out.write_table(table, 2)
        elif ".array_record" in name:
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for row in rows:
                writer.write(json.dumps(row).encode() if len(row) > 1 else row["text"].encode())
            writer.close()
        elif ".jsonl" in name:
            _packed(path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        elif ".csv" in name or ".tsv" in name:
            _packed(path, _columns(rows, "," if ".csv" in name else "\t"))
        else:
            _packed(path, "\n".join(row["text"] for row in rows).encode())
        return path

    return write
