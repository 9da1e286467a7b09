"""Files and folders that survive a crash: each is there whole, or as it was before.

A write is durable once the file and the folder that lists its name are fsynced; a rename within a
file system happens in one step. Everything here rests on these two.
"""

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from lm_lab.types import UserError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.ELOOP: "it is a link, and writing would change what it leads to; remove it",
    errno.ENOLCK: "choose a directory on a file system that supports locks",
}


@contextlib.contextmanager
def explained(path: Path, action: str) -> Iterator[None]:
    """Turns an OSError of the block into a UserError: the path, what failed, why, a remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(
            error.errno or 0, "check its permissions or choose another directory"
        )
        raise UserError(f"{path}: cannot {action}: {error.strerror or error}; {remedy}") from None


def fsync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(directory: Path) -> None:
    """fsync of every file below a folder, then of its folders, deepest first. Raises OSError."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            fsync(Path(folder, name))
        fsync(Path(folder))


def make_folder(path: Path) -> list[Path]:
    """Makes a folder and its missing parents, and fsyncs their names; returns those that were
    missing, the deepest first. Raises OSError.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync(folder.parent)
    return missing


@contextlib.contextmanager
def new_folder(
    folder: Path,
    draft: Path,
    *,
    resumable: bool = False,
    confirm: Callable[[], None] = lambda: None,
) -> Iterator[Path]:
    """Makes a folder whole or not at all: the block makes `draft`, which then becomes `folder`,
    unless `confirm`, called right before, raises.

    The draft must lie on the same file system. It is removed if the block raises, and what a killed
    process left of it is removed first. With `resumable` a draft of a process that was killed, or
    stopped by a signal, stays, and the next block finds it. `folder` must not exist, or be empty.
    Raises OSError.
    """
    if not resumable:
        shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
        fsync_tree(draft)
        confirm()
        draft.replace(folder)
        fsync(folder.parent)
    except BaseException as error:
        if not resumable or isinstance(error, Exception):
            shutil.rmtree(draft, ignore_errors=True)
        raise


def replace(path: Path, data: bytes) -> None:
    """Writes a file; readers, and a restart after a crash, see the old content or the new one.

    Durable on return. Raises OSError.
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


def atomic_write(path: Path, content: str | bytes) -> None:
    """`replace`, with text as UTF-8. Raises UserError naming the path."""
    with explained(path, "write"):
        replace(path, content.encode() if isinstance(content, str) else content)


def set_aside(path: Path, copy: bool = False) -> str:
    """Renames (or copies) a damaged file to NAME.damaged-1, or the next number that is free.

    Returns the name. Raises UserError.
    """
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    with explained(path, "set it aside"):
        if copy:
            replace(aside, path.read_bytes())
        else:
            path.rename(aside)
    return aside.name


def prepare_workdir(path: Path) -> list[Path]:
    """Makes a folder and its missing parents, and proves that files can be written there; returns
    those that were missing, the deepest first.

    Raises UserError.
    """
    probe = path / f".probe.{os.getpid()}"
    with explained(path, "write there"):
        made = make_folder(path)
        try:
            probe.write_bytes(b"\0")
        finally:
            probe.unlink(missing_ok=True)
    return made


@contextlib.contextmanager
def workdir(path: Path) -> Iterator[None]:
    """`prepare_workdir` for the block; what it made and is empty is removed if the block raises."""
    made = prepare_workdir(path)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # the first that holds something ends it
            for folder in made:
                folder.rmdir()
        raise
