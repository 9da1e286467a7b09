"""Files that are hashed as they are written, and that a later process can continue."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_lab.runs.sealed import Damaged

BLOCK = 2**22


class HashingFile:
    """A file being written: counts and hashes its bytes, and is on the disk when it is closed."""

    def __init__(self, path: Path, written: Mapping[str, Any] | None = None) -> None:
        """Creates the file; or continues after the part that an `entry` describes.

        Raises Damaged where the part differs from the entry.
        """
        self._hash, self.name, self.bytes = hashlib.sha256(), path.name, 0
        if written is None:
            self._file = path.open("xb")
            return
        try:
            self._file = path.open("r+b")
        except OSError as error:
            raise Damaged(f"{path.name}: {error.strerror}") from None
        while block := self._file.read(min(BLOCK, written["bytes"] - self.bytes)):
            self._hash.update(block)
            self.bytes += len(block)
        if self.entry() != written:
            self._file.close()
            raise Damaged(f"{path.name}: SHA-256 differs")
        self._file.truncate(self.bytes)

    def __enter__(self) -> "HashingFile":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flushes to the disk and closes."""
        self.sync()
        self._file.close()

    def write(self, data: bytes) -> None:
        """Appends bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def sync(self) -> None:
        """Waits until everything written is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def entry(self) -> dict[str, Any]:
        """The manifest's entry for this file."""
        return {"bytes": self.bytes, "sha256": self._hash.hexdigest()}
