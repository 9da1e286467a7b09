"""Verifies the files of a token store once, and again when they have changed.

<cache>/<key>.checked    for every file its SHA-256, and size, time and inode at the time of hashing
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_lab.data.progress import Progress
from lm_lab.runs import durable
from lm_lab.runs.reading import read_bytes
from lm_lab.runs.sealed import FileSum, verify

# the states of the files that this process has hashed
_VERIFIED: dict[Path, dict[str, list[Any]]] = {}


def verify_once(store: Path, files: Mapping[str, FileSum]) -> None:
    """Raises Damaged for a file that is not what the manifest says; OSError if one is missing.

    With LM_LAB_VERIFY=1 every process hashes the files once, whatever earlier ones noted.

    Any number of processes may call this at once: one hashes, the others wait. If the note cannot
    be written (in another user's cache), each start hashes again.
    """
    note, states = store.with_name(f"{store.name}.checked"), _states(store, files)
    cached_states = _read_note(note) if _trusts_notes() else _VERIFIED.get(store)
    if cached_states == states:
        return
    with _one_at_a_time(store):
        if _trusts_notes() and _read_note(note) == states:
            return
        with Progress("Checking tokens", sum(file.size for file in files.values())) as progress:
            verify(store, files, progress.add)
        with contextlib.suppress(OSError):
            durable.replace(note, json.dumps(states).encode())
    if not _trusts_notes():
        _VERIFIED[store] = states


def _trusts_notes() -> bool:
    return not os.environ.get("LM_LAB_VERIFY")


def _states(store: Path, files: Mapping[str, FileSum]) -> dict[str, list[Any]]:
    """The state of each file (size, time, inode), which differs if the file has changed since it
    was hashed.
    """
    stats = {name: (store / name).stat() for name in files}
    return {
        name: [files[name].sha256, stat.st_size, stat.st_mtime_ns, stat.st_ino]
        for name, stat in stats.items()
    }


def _read_note(note: Path) -> Any:
    try:
        return json.loads(read_bytes(note))
    except (OSError, ValueError, RecursionError):
        return None


@contextlib.contextmanager
def _one_at_a_time(store: Path) -> Iterator[None]:
    """A lock on the folder itself, so that nothing is written; no lock if the file system has
    none.
    """
    descriptor = os.open(store, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
