"""Locks between processes: flock, which the kernel releases when the holder dies, however it dies.

So there is no stale lock to clear away, and the file of a lock stays.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from lm_lab.runs.durable import explained
from lm_lab.types import UserError


class Lock:
    """An exclusive lock, held from entering the `with` block to leaving it.

    The file names its last holder. A link is refused, because the file is overwritten. A process
    forked inside the block holds the lock too, until it ends or execs. Raises UserError, with the
    holder's pid and host, where another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> "Lock":
        with explained(self._path, "lock"):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                self._acquire()
            except BaseException:
                os.close(self._descriptor)
                raise
        return self

    def _acquire(self) -> None:
        if not try_lock(self._descriptor):
            # The holder writes its name after it has the lock, so the file may still be empty.
            name = os.pread(self._descriptor, 4096, 0).decode(errors="replace").strip()
            raise UserError(
                f"{self._path.parent} is in use by {name or 'another process'}; wait for it, stop "
                "it, or choose another directory"
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


@contextlib.contextmanager
def waiting_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds an exclusive lock within the block; calls `on_wait` and waits while another has it.

    Raises OSError.
    """
    with path.open("a") as file:
        if not try_lock(file.fileno()):
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """Takes the exclusive (or a shared) flock of an open file; False if another process has it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock; a file that cannot be opened is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)
