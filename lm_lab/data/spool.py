"""The documents of a source in a temporary file, from the first reading to the second, which then
parses nothing again.
"""

import contextlib
import itertools
import marshal
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lm_lab.types import Document

MOST_BYTES = 2**32  # of the file: documents beyond it are read from their source again
BLOCK_BYTES, BLOCK_DOCUMENTS = 2**20, 2**10  # what is written at once


class Spool:
    """The first documents of a source: as many as fit."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        """`stack` closes the file, which has no name: a process that is killed leaves nothing."""
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the stack closes it
        self._file = stack.enter_context(file)
        self._waiting: list[tuple] = []
        self._size, self._is_full = 0, False  # bytes that wait, and whether no more are taken
        self._blocks: list[tuple[int, int]] = []  # of each, the first document and its bytes
        self.count = 0  # documents in the file

    def add(self, document: Document, size: int) -> None:
        """Adds the next document, of `size` bytes of text. Raises OSError."""
        if not self._is_full:
            self._waiting.append(tuple(document))
            self._size += size
            if self._size >= BLOCK_BYTES or len(self._waiting) == BLOCK_DOCUMENTS:
                self.flush()

    def flush(self) -> None:
        """Writes the documents that wait. Raises OSError."""
        if self._waiting:
            try:
                data = marshal.dumps(self._waiting)
            except ValueError:  # a kind of text of the source's own
                self._is_full = True
            else:
                self._blocks.append((self.count, len(data)))
                self._file.write(data)
                self.count += len(self._waiting)
                self._is_full = self._file.tell() >= MOST_BYTES
            self._waiting, self._size = [], 0

    def documents(self, first: int) -> Iterator[Document]:
        """The documents of the file from number `first` on."""
        self._file.seek(0)
        for (begin, size), (end, _) in itertools.pairwise([*self._blocks, (self.count, 0)]):
            if end <= first:
                self._file.seek(size, os.SEEK_CUR)
            else:
                block = marshal.loads(self._file.read(size))
                yield from map(Document._make, block[max(0, first - begin) :])
