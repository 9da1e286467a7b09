"""Files opened through the compression that their suffix names: .gz, .xz and .zst."""

import contextlib
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lm_lab.data.faults import fault
from lm_lab.runs import reading

SUFFIXES = (".gz", ".xz", ".zst")
BUFFER = 2**20  # bytes unpacked at a time
ARROWS = {".gz": "gzip", ".zst": "zstd"}
TOO_LONG = "Frame requires too much memory"  # zstd, of a window above 128 MiB


def plain_name(name: str) -> str:
    """The name of a file without the suffix of its compression."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


@contextlib.contextmanager
def unpacked(path: Path, key: str) -> Iterator[BinaryIO]:
    """The content of a file, read as a stream, in constant memory. Raises UserError, which names
    the setting `key` and the file, where it cannot be read, is damaged or ends too early.
    """
    try:
        with reading.open_to_read(path) as file, _opened(path, file) as content:
            yield content
    except (OSError, EOFError, lzma.LZMAError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        remedy = "is it whole, and readable?"
        if TOO_LONG in why:  # the window of zstd --long=28 and more
            remedy = "it was packed by zstd --long; unpack it with zstd -d --long=31"
        raise fault(key, f"cannot read {path} ({why}); {remedy}") from None


@contextlib.contextmanager
def _opened(path: Path, file: io.BufferedReader) -> Iterator[BinaryIO]:
    if path.suffix in ARROWS:
        import pyarrow as pa  # slow to import

        packed = pa.CompressedInputStream(pa.PythonFile(file, "r"), ARROWS[path.suffix])
        # a NativeFile reads lines slowly, but works as the raw stream of a BufferedReader
        with packed, io.BufferedReader(packed, BUFFER) as content:  # type: ignore[arg-type]
            yield content
    elif path.suffix == ".xz":
        with lzma.open(file) as packed, io.BufferedReader(packed, BUFFER) as content:  # type: ignore[arg-type]
            yield content
    else:
        yield file
