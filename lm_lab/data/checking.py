"""Checks the files of a token store against its manifest, and hashes only what changed.

<cache>/<key>.checked      the SHA-256 of every file, with its size, time and inode at that moment
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_lab.data.progress import Progress
from lm_lab.runs import durable
from lm_lab.types import UserError

CHUNK = 2**22  # bytes; larger blocks are hashed no faster

Files = Mapping[str, Mapping[str, Any]]
"""A manifest's "files": name -> {"bytes": size, "sha256": hex}."""


def check_files(store: Path, files: Files) -> None:
    """Raises UserError for a file of another size or content, OSError for one that cannot be read.

    Any number of processes may call this at once: one hashes, the others wait. If the note about it
    cannot be written (in a cache of other users), each start hashes again.
    """
    found = _look(store, files)
    wrong = [name for name, entry in files.items() if found[name][1] != entry["bytes"]]
    if wrong:
        raise damaged(store, f"size of {', '.join(wrong)}")
    note = store.with_name(f"{store.name}.checked")
    if _noted(note) == found:
        return
    with _one_at_a_time(store):
        if _noted(note) == found:
            return
        with Progress(
            "Checking tokens", sum(entry["bytes"] for entry in files.values())
        ) as progress:
            wrong = [
                name
                for name, entry in files.items()
                if _hash(store / name, progress) != entry["sha256"]
            ]
        if wrong:
            raise damaged(store, f"SHA-256 of {', '.join(wrong)}")
        with contextlib.suppress(OSError):
            durable.replace(note, json.dumps(found).encode())


def damaged(store: Path, what: str) -> UserError:
    """The error for a store that changed since it was built."""
    return UserError(f"the token store {store} is damaged ({what}); delete it and run again")


def _look(store: Path, files: Files) -> dict[str, list[Any]]:
    """The facts by which a changed file is noticed: size, time and inode."""
    states = {name: (store / name).stat() for name in files}
    return {
        name: [files[name]["sha256"], s.st_size, s.st_mtime_ns, s.st_ino]
        for name, s in states.items()
    }


def _noted(note: Path) -> Any:
    try:
        return json.loads(durable.read_bytes(note))
    except (OSError, ValueError, RecursionError):
        return None


@contextlib.contextmanager
def _one_at_a_time(store: Path) -> Iterator[None]:
    """Locks the folder itself, so that nothing needs to be written.

    Does nothing on file systems without such locks.
    """
    descriptor = os.open(store, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _hash(path: Path, progress: Progress) -> str:
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    with durable.open_to_read(path) as file:
        while size := file.readinto(buffer):  # type: ignore[attr-defined]
            digest.update(memoryview(buffer)[:size])
            progress.add(size)
    return digest.hexdigest()
