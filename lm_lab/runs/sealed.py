"""Sealed folders: built whole or not at all, and verifiable to the last bit.

Checkpoints and token stores are sealed folders. Such a folder is drafted elsewhere and renamed into
place (`durable.new_folder`). Its manifest.json has fields of the folder's own, the size and SHA-256
of every other file, and the SHA-256 of all that.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lm_lab.runs import durable
from lm_lab.runs.reading import read_bytes, sha256_of
from lm_lab.values import is_text

MANIFEST = "manifest.json"

Fingerprint = Callable[[Mapping[str, Any]], str]


class Damaged(Exception):
    """A sealed folder is not what its manifest says."""


class FileSum(NamedTuple):
    """What a manifest says of a file."""

    size: int  # bytes
    sha256: str  # hex


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 in hex of the content as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sums_of(folder: Path) -> dict[str, FileSum]:
    """Size and SHA-256 of every file below a folder, by relative path. Raises OSError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): FileSum(path.stat().st_size, sha256_of(path))
        for path in paths
    }


def write_manifest(
    folder: Path, content: Mapping[str, Any], fingerprint: Fingerprint = fingerprint
) -> None:
    """Writes manifest.json: the content, of which "files" is a part, and its fingerprint.

    Raises OSError.
    """
    sealed = {"sha256": fingerprint(content), **content}
    durable.replace(folder / MANIFEST, json.dumps(sealed, indent=1).encode())


def read_manifest(
    folder: Path, fingerprint: Fingerprint = fingerprint, required: bool = True
) -> tuple[dict[str, Any], dict[str, FileSum]]:
    """(content, sums of the files) of manifest.json, which is verified; the files are not.

    Raises Damaged, also where it has no fingerprint and one is required.
    """
    try:
        content = json.loads(read_bytes(folder / MANIFEST))
        stored = content.pop("sha256") if required else content.pop("sha256", None)
        intact = stored in (fingerprint(content), *(() if required else (None,)))
        files = {name: _file_sum(entry) for name, entry in content["files"].items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise Damaged(f"{MANIFEST}: {error}") from None
    if not intact:
        raise Damaged(f"{MANIFEST}: SHA-256 differs")
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts or not is_text(name):
            raise Damaged(f"{MANIFEST}: {name!r} is no file of the folder")
    return content, files


def verify(
    folder: Path, files: Mapping[str, FileSum], advance: Callable[[int], None] = lambda _: None
) -> None:
    """Raises Damaged where a file has not the size and SHA-256 that a manifest says.

    Sizes are compared first. `advance` is called with the number of bytes as they are hashed.
    """
    for name, expected in files.items():
        with _damages(name):
            size = (folder / name).stat().st_size
        if size != expected.size:
            raise Damaged(f"{name}: {size} bytes instead of {expected.size}")
    for name, expected in files.items():
        with _damages(name):
            sha256 = sha256_of(folder / name, advance)
        if sha256 != expected.sha256:
            raise Damaged(f"{name}: SHA-256 differs")


@contextlib.contextmanager
def _damages(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Damaged(f"{name}: {error.strerror}") from None


def _file_sum(entry: Any) -> FileSum:
    """An entry of a checkpoint's manifest is [size, SHA-256]; a token store's names the two."""
    size, sha256 = (entry["bytes"], entry["sha256"]) if isinstance(entry, dict) else entry
    return FileSum(int(size), str(sha256))
