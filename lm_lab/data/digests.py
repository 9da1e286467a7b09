"""Digests of files, computed once and again when a file has changed.

<cache>/digests/<key>    the digest, and the state (size, times, inode) of every file at the time

A corpus of many gigabytes is hashed at the first launch; later launches compare states. With
LM_LAB_VERIFY=1 every launch hashes again.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_lab.data.documents import digest
from lm_lab.data.faults import Errors, fault
from lm_lab.data.progress import Progress
from lm_lab.data.sides import unless_refused
from lm_lab.data.store import cache_directory
from lm_lab.runs import durable, reading

# A file that changed less than this before it was hashed may change again within the same time
# stamp.
SETTLED_SECONDS = 2.0


def of_files(found: Sequence[tuple[str, Path]], *settings: str, key: str = "path") -> str:
    """Digest of names and contents of files, and of the settings by which they are read. Raises
    UserError for a file that cannot be read.
    """
    names = [name for name, _ in found]
    contents = cached("files", names, [path for _, path in found], lambda: _hash(found, key), key)
    return digest([*settings, contents])


def of_sides(found: Mapping[str, list[tuple[str, Path]]], errors: Errors, *settings: str) -> str:
    """Digest of the files of each side, by the setting that names them. With one side, and `errors`
    at its default, it equals that of `of_files`.
    """
    train, *other_splits = found.items()
    files = [
        *train[1],
        *((f"{key}:{name}", path) for key, part in other_splits for name, path in part),
    ]
    return of_files(files, *settings, *unless_refused(errors))


def cached(
    kind: str, names: Iterable[str], paths: Sequence[Path], compute: Callable[[], str], key: str
) -> str:
    """The value of `compute`, a function of the content of these files: from the cache if no file
    has changed since. Raises UserError for a file that is not there.
    """
    start_time = time.time()
    try:
        states = [_state(path) for path in paths]
    except OSError as error:
        raise fault(key, f"cannot read {error.filename} ({error.strerror})") from None
    key_parts = [kind, *names, *(str(path.absolute()) for path in paths)]
    note = cache_directory().with_name("digests") / digest(key_parts)[:32]
    cached_note = None if os.environ.get("LM_LAB_VERIFY") else _read(note)
    if (
        cached_note is not None
        and cached_note.get("states") == states
        and isinstance(cached_note["digest"], str)
    ):
        return cached_note["digest"]
    computed = compute()
    newest = max((max(changed) for _, _, *changed in states), default=0) / 1e9
    if newest < start_time - SETTLED_SECONDS:
        with contextlib.suppress(OSError):  # another user's cache: every launch hashes
            durable.make_folder(note.parent)
            durable.replace(note, json.dumps({"states": states, "digest": computed}).encode())
    return computed


def _state(path: Path) -> list[int]:
    """What tells a file that was hashed from one that has changed since."""
    stat = path.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _read(note: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(reading.read_bytes(note))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and "digest" in content else None


def _hash(files: Sequence[tuple[str, Path]], key: str) -> str:
    """As `documents.digest` of every name and content in turn, in constant memory."""
    total, buffer = hashlib.sha256(), bytearray(reading.CHUNK)
    with Progress("Hashing text", sum(path.stat().st_size for _, path in files)) as progress:
        for name, path in files:
            data = name.encode(errors="surrogateescape")
            total.update(len(data).to_bytes(8, "little") + data)
            try:
                with reading.open_to_read(path) as file:
                    size = os.fstat(file.fileno()).st_size
                    total.update(size.to_bytes(8, "little"))
                    while amount := file.readinto(buffer):
                        total.update(memoryview(buffer)[:amount])
                        progress.add(amount)
            except OSError as error:
                raise fault(
                    key, f"cannot read {path} ({error.strerror}); mend that, or leave it out"
                ) from None
    return total.hexdigest()
