"""Files that survive a crash: what the token store and the runs share. Everything here raises
OSError.
"""

import errno
import fcntl
import os
import stat
from io import BufferedReader
from pathlib import Path


def fsync(path: Path) -> None:
    """Waits until the file's content, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes the folder and its parents where missing, so that their names survive a crash too."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync(folder.parent)


def fsync_tree(directory: Path) -> None:
    """fsync of every file below a folder, then of every folder, the deepest first."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            fsync(Path(folder, name))
        fsync(Path(folder))


def replace(path: Path, data: bytes) -> None:
    """Writes the file so that a reader, or a restart after a crash, sees the old content or the
    new, never a mix.

    Durable on return: the file and its folder are fsynced.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def try_lock(descriptor: int) -> bool:
    """Takes the exclusive flock of an open file, which the kernel frees at the holder's death;
    False if it is held.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_to_read(path: Path) -> BufferedReader:
    """Opens a file for reading. Raises OSError for all else: a pipe would be waited for, a device
    never ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check_is_file(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises OSError as `open_to_read` does, and where the memory cannot
    hold it.
    """
    with open_to_read(path) as file:
        size, memory = os.fstat(file.fileno()).st_size, memory_bytes()
        if size > memory:
            raise OSError(
                errno.EFBIG, f"{size:,} bytes, and the machine's memory holds {memory:,}", str(path)
            )
        return file.read()


def memory_bytes() -> int:
    """The bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_is_file(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
