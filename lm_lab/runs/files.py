"""Files that survive a crash: atomic writes, fsync of folders, sealed folders, and the lock of a
run.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_lab.runs import durable
from lm_lab.schema import is_text
from lm_lab.types import UserError

MANIFEST = "manifest.json"

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.ELOOP: "it is a link, and writing would change what it leads to; remove it",
    errno.ENOLCK: "choose a --workdir on a file system that supports locks",
}


@contextlib.contextmanager
def explained(path: Path, action: str) -> Iterator[None]:
    """Turns an OSError of the block into a UserError: one line with the path, what failed, why, and
    the remedy.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(
            error.errno or 0, "check its permissions or choose another --workdir"
        )
        raise UserError(f"{path}: cannot {action}: {error.strerror or error}; {remedy}") from None


def digest(path: Path) -> str:
    """The SHA-256 of a file's content in hexadecimal. Raises OSError."""
    with durable.open_to_read(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def atomic_write(path: Path, content: str | bytes) -> None:
    """Writes the file so that a reader, or a restart after a crash, sees the old content or the
    new, never a mix.

    Durable on return: the file and its folder are fsynced. Text is UTF-8. Raises UserError naming
    the path.
    """
    with explained(path, "write"):
        durable.replace(path, content.encode() if isinstance(content, str) else content)


class Unreadable(UserError):
    """A file that is not what we write, as when an editor or a crash left it: one line that ends in
    the remedy.
    """

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}; {remedy}")
        self.path, self.why = path, why


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The object that a JSON file holds. Raises UserError, which ends in the remedy, where it
    cannot be read, and Unreadable where it holds none.
    """
    try:
        content = json.loads(durable.read_bytes(path))
    except IsADirectoryError:
        raise Unreadable(path, "a folder stands in its place", remedy) from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, f"no JSON ({error})", remedy) from None
    if not isinstance(content, dict):
        raise Unreadable(path, "a JSON object is expected", remedy)
    return content


def set_aside(path: Path, copy: bool = False) -> str:
    """Renames a damaged file to NAME.damaged-1, or the next that is free, or makes a copy of that
    name; the name.

    Raises UserError.
    """
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    with explained(path, "set it aside"):
        if copy:
            durable.replace(aside, path.read_bytes())
        else:
            path.rename(aside)
    return aside.name


NUMBER = (int, float)


def misfit(values: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> str | None:
    """The first value of none of the types of its key, as in "steps is null"; None where there is
    none.

    Keys may be absent, and True is no number.
    """
    for key in (key for key in types if key in values):
        value, allowed = values[key], types[key]
        huge = isinstance(value, int) and abs(value) >= 2**1000  # beyond floats
        if not isinstance(value, allowed) or isinstance(value, bool) or huge:
            return f"{key} is {json.dumps(value)[:60]}"
    return None


class Damaged(Exception):
    """A sealed folder is not what its manifest says."""


def seal(folder: Path, fields: dict[str, Any]) -> None:
    """Writes the folder's manifest: the fields (JSON data), the size and SHA-256 of every file, and
    its own SHA-256.

    The folder is durable on return: files and folders are fsynced. Raises OSError.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): [path.stat().st_size, digest(path)] for path in paths}
    content = {**fields, "files": files}
    (folder / MANIFEST).write_text(
        json.dumps({"sha256": _fingerprint(content), **content}, indent=1), "utf-8"
    )
    durable.fsync_tree(folder)


def read_seal(folder: Path) -> dict[str, Any]:
    """The manifest of a sealed folder, itself verified; the files are not. Raises Damaged."""
    try:
        content = json.loads(durable.read_bytes(folder / MANIFEST))
        same = content.pop("sha256") == _fingerprint(content)
        files = {
            name: (int(size), str(sha256)) for name, (size, sha256) in content["files"].items()
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise Damaged(f"{MANIFEST}: {error}") from None
    if not same:
        raise Damaged(f"{MANIFEST}: SHA-256 differs")
    return content | {"files": files}


def verify_seal(folder: Path) -> dict[str, Any]:
    """The manifest, once every file that it covers was found to have its size and SHA-256. Raises
    Damaged.
    """
    content = read_seal(folder)
    for name, (size, sha256) in content["files"].items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not is_text(name):
            raise Damaged(f"{MANIFEST}: {name!r} is no file of the folder")
        try:
            if path.stat().st_size != size:
                raise Damaged(f"{name}: {path.stat().st_size} bytes instead of {size}")
            if digest(path) != sha256:
                raise Damaged(f"{name}: SHA-256 differs")
        except OSError as error:
            raise Damaged(f"{name}: {error.strerror}") from None
        except ValueError as error:  # a name with NUL
            raise Damaged(f"{name!r}: {error}") from None
    return content


def _fingerprint(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def prepare_workdir(path: Path) -> None:
    """Makes the folder and its parents where missing, and proves that files can be written in it,
    or UserError.
    """
    probe = path / f".probe.{os.getpid()}"
    with explained(path, "write there"):
        durable.make_folder(path)
        try:
            probe.write_bytes(b"\0")
        finally:
            probe.unlink(missing_ok=True)


class Lock:
    """An exclusive flock on a file, held from entering the `with` block to leaving it, or to the
    process's death.

    A link to another file is refused, for the lock's content is overwritten.

    The kernel releases it when the holder dies, kill -9 included, so there is no stale lock to
    clear away. The file stays, and names the last holder. A process forked inside the block holds
    the lock too, until it ends or execs. Raises UserError, with the holder's pid and host, where
    another holds it.
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
        if not durable.try_lock(self._descriptor):
            # The holder writes its name just after it gets the lock: in between, the file may be
            # empty.
            holder = (
                os.pread(self._descriptor, 4096, 0).decode(errors="replace").strip()
                or "another process"
            )
            raise UserError(
                f"{self._path.parent} is in use by {holder}; wait for it, stop it, or choose "
                "another --workdir"
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
