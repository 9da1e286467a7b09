"""Arrays that take long to compute, kept in a file of the user's cache.

SHA-256 in hex of what follows the newline, a newline, the array in little endian
"""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lm_lab.runs import durable, reading


def kept(path: Path, dtype: str, size: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of `size` elements, flat, that the file holds; what `compute` gives if it is
    missing, damaged or of another size, which is then written there.
    """
    stored = read(path, dtype, size)
    return write(path, dtype, compute()) if stored is None else stored


def read(path: Path, dtype: str, size: int) -> np.ndarray | None:
    """The array; None if there is none, or it is damaged or of another size."""
    try:
        sha256, _, data = reading.read_bytes(path).partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest().encode() != sha256:
        return None
    stored = np.frombuffer(data, dtype)
    return stored if len(stored) == size else None


def write(path: Path, dtype: str, array: np.ndarray) -> np.ndarray:
    """Keeps an array in the file; returns it as `read` gives it."""
    data = array.astype(dtype).tobytes()
    with contextlib.suppress(OSError):  # another user's cache: it is computed each time
        durable.make_folder(path.parent)
        durable.replace(path, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
    return np.frombuffer(data, dtype)
