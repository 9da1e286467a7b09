"""Reads files that an editor, a crash or a stranger may have changed, and says what is wrong."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from lm_lab.types import UserError

CHUNK = 2**22  # bytes hashed at a time; larger chunks are no faster
NUMBER = (int, float)


class Unreadable(UserError):
    """A file with content that lm_lab does not write. The message is one line: path, fault and
    remedy.
    """

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}; {remedy}")
        self.path, self.why = path, why


def open_to_read(path: Path) -> BufferedReader:
    """Opens a regular file. Raises OSError, also for a pipe or a device, which might never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check_is_file(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError, also where it is larger than the memory."""
    with open_to_read(path) as file:
        size, memory = os.fstat(file.fileno()).st_size, memory_bytes()
        if size > memory:
            raise OSError(
                errno.EFBIG, f"{size:,} bytes, and the machine's memory holds {memory:,}", str(path)
            )
        return file.read()


def sha256_of(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a file's content in hexadecimal. Raises OSError.

    `advance` is called with the number of bytes of every chunk, as for a progress bar.
    """
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    with open_to_read(path) as file:
        while size := file.readinto(buffer):
            digest.update(memoryview(buffer)[:size])
            advance(size)
    return digest.hexdigest()


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises UserError, ending in the remedy, where it cannot be read; Unreadable where it is no JSON
    object.
    """
    try:
        content = json.loads(read_bytes(path))
    except IsADirectoryError:
        raise Unreadable(path, "a folder stands in its place", remedy) from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, f"no JSON ({error})", remedy) from None
    if not isinstance(content, dict):
        raise Unreadable(path, "a JSON object is expected", remedy)
    return content


def misfit(values: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> str | None:
    """The first value that has none of the types of its key, as "steps is null"; None if all fit.

    Keys may be absent. True is not a number, nor is an integer that no float can hold.
    """
    for key in (key for key in types if key in values):
        value, allowed = values[key], types[key]
        huge = isinstance(value, int) and abs(value) >= 2**1000
        if not isinstance(value, allowed) or isinstance(value, bool) or huge:
            return f"{key} is {json.dumps(value)[:60]}"
    return None


def memory_bytes() -> int:
    """The bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_is_file(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
