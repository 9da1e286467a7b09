"""The safetensors format: a writer, and a reader that trusts no file.

A file is the length of its header (u64, little endian), the header (JSON: name -> dtype, shape,
data_offsets), and the tensors' bytes, one after another without a hole.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lm_lab.runs import reading
from lm_lab.types import UserError

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
HEADER_LIMIT = 100_000_000  # bytes, the limit of the format


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor by name, mapped read-only from the file.

    The header is not trusted: sizes must follow from shapes, and the tensors must tile the file
    exactly. Raises UserError naming the file, and the tensor at fault.
    """
    try:
        header, start, size = _header(path)
        spans = sorted(
            _span(name, fields) for name, fields in header.items() if name != "__metadata__"
        )
        _check_tiling(spans, size - start)
        data = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror or error}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    tensors = {}
    for begin, end, name in spans:
        dtype, shape = DTYPES[header[name]["dtype"]], header[name]["shape"]
        tensors[name] = np.asarray(data[start + begin : start + end]).view(dtype).reshape(shape)
    return tensors


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """(the header, the byte where the tensors begin, the size of the file)."""
    with reading.open_to_read(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER_LIMIT):
            raise UserError(
                f"no safetensors file: {size} bytes cannot hold a header of {length}; fetch it "
                "again"
            )
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"no safetensors file: its header is no JSON ({error}); fetch it again"
        ) from None
    if not isinstance(header, dict):
        raise UserError("no safetensors file: its header is no JSON object; fetch it again")
    return header, 8 + length, size


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise UserError(
            f"tensor {next(name for name in names if names.count(name) > 1)} is described twice"
        )
    return dict(pairs)


def _span(name: str, fields: Any) -> tuple[int, int, str]:
    """(first byte, end, name) of a tensor, after checks of its fields."""
    if not isinstance(fields, dict) or not all(
        key in fields for key in ("dtype", "shape", "data_offsets")
    ):
        raise UserError(
            f"tensor {name} has no dtype, shape and data_offsets in the header; fetch the file "
            "again"
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UserError(
            f"tensor {name} has dtype {dtype!r}, which is not supported; save it as F32, F16 or "
            "BF16"
        )
    if not _counts(shape) or len(shape) > 32 or not _counts(offsets) or len(offsets) != 2:
        raise UserError(
            f"tensor {name} has shape {shape!r} at bytes {offsets!r}, which no tensor has"
        )
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise UserError(
            f"tensor {name} has {end - begin} bytes in the header, which {dtype} of shape {shape} "
            "has not"
        )
    return begin, end, name


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**48 for value in values
    )


def _check_tiling(spans: list[tuple[int, int, str]], size: int) -> None:
    at = 0
    for begin, end, name in spans:
        if end > size:
            raise UserError(
                f"tensor {name} ends at byte {end} of {size}: the file is truncated; fetch it again"
            )
        if begin != at:
            raise UserError(
                f"tensor {name} {'overlaps another' if begin < at else 'leaves a hole before it'}"
            )
        at = end
    if at != size:
        raise UserError(f"{size - at} bytes follow the last tensor; fetch the file again")


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes the tensors, wider dtypes first so that each is aligned. Raises OSError."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in order:
        tensor = tensors[name]
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(tensors[name]).tobytes())
