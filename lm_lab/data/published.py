"""Published data sets that configs read, each a folder of $LM_LAB_DATA (default: ./data)."""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple


class PublishedFile(NamedTuple):
    """A file of a data set, with the size and digest that its origin published."""

    path: str  # below the set's folder
    bytes: int
    sha256: str


class PublishedSet(NamedTuple):
    """A data set and where it comes from: an entry of published.json."""

    name: str
    repository: str  # on GitHub
    commit: str
    folder: str  # of the repository
    licence: str
    about: str
    used_by: list[str]  # configs
    files: list[PublishedFile]

    @property
    def origin(self) -> str:
        """Where it comes from, as text for people."""
        return f"github.com/{self.repository}" + (f", {self.folder}" if self.folder else "")

    def place(self, file: PublishedFile) -> Path:
        """The path at which a file of the set is expected."""
        return folder() / self.name / file.path

    def is_here(self, file: PublishedFile) -> bool:
        """Whether a file of the set exists, packed or unpacked; its content is not read."""
        place = self.place(file)
        return place.is_file() or place.with_name(f"{place.name}.gz").is_file()


BY_HAND = {
    "penn_treebank": "the Penn Treebank (LDC99T42, licensed) as Mikolov prepared it, "
    "simple-examples/data of his RNNLM toolkit"
}
"""Data sets that are not fetched, and where a person finds them."""


@functools.cache
def sets() -> dict[str, PublishedSet]:
    """All data sets, by name."""
    entries = json.loads(Path(__file__).with_suffix(".json").read_text())
    for entry in entries.values():
        entry["files"] = [PublishedFile(path, *facts) for path, facts in entry["files"].items()]
    return {name: PublishedSet(name, **entry) for name, entry in entries.items()}


def file(name: str, *parts: str) -> str:
    """The path of a data set's file; for a .gz of which only the
    unpacked file exists, that file's path.
    """
    path = folder() / Path(name, *parts)
    plain = path.with_suffix("")
    return str(plain if path.suffix == ".gz" and not path.exists() and plain.exists() else path)


def origin(path: Path) -> str:
    """The end of an error about a missing path: where the published data set comes from, or ""."""
    root = folder()
    name = path.relative_to(root).parts[0] if path.is_relative_to(root) and path != root else None
    if name in BY_HAND:
        return f", from {BY_HAND[name]}; put it there, or set LM_LAB_DATA"
    if name not in sets():
        return ""
    return (
        f", from {sets()[name].origin} (lm-lab data fetch {name}), or set LM_LAB_DATA to the "
        f"folder that has {path.relative_to(root)}"
    )


def folder() -> Path:
    """Where data sets are expected."""
    return Path(os.environ.get("LM_LAB_DATA") or "data").expanduser()


def is_whole(path: Path, wanted: PublishedFile) -> bool:
    """Whether a file has the published size and digest."""
    if path.stat().st_size != wanted.bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == wanted.sha256
