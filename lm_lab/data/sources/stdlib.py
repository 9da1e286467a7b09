"""The source code of the Python standard library: real text without a download (about 23 MB)."""

import dataclasses
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import digests, files
from lm_lab.data.documents import digest
from lm_lab.types import Document, UserError

# A larger file is mostly a table (encodings, topics, test vectors), and could dominate the held-out
# text.
LARGEST_BYTES = 100_000
NOT_OF_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings: the interpreter decides."""


def documents(config: Config) -> Iterator[Document]:
    """Every .py file of the interpreter's library below 100 kB, tests included, in order of names.

    Skips empty files and those that are not UTF-8 (a few tests of encodings).
    """
    for name, data in _contents(_root()):
        yield Document(name, data.decode())


def fingerprint(config: Config) -> str:
    """Digest of all names and contents: another interpreter or library is another corpus."""

    def compute() -> str:
        return digest(["stdlib", *(part for item in _contents(_root()) for part in item)])

    names, paths = zip(*_list(_root()))
    return digests.cached("stdlib", names, paths, compute, "path")


def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _contents(root: Path) -> Iterator[tuple[str, bytes]]:
    for name, path in _list(root):
        data = files.read_bytes(path)
        if 0 < len(data) < LARGEST_BYTES and _is_utf8(data):
            yield name, data


def _list(root: Path) -> list[tuple[str, Path]]:
    paths = (
        path for path in files.walk(root, NOT_OF_THE_LIBRARY.__contains__) if path.suffix == ".py"
    )
    named_files = sorted((path.relative_to(root).as_posix(), path) for path in paths)
    if not named_files:
        raise UserError(
            f"config.data.source: no .py file below {root}; use a Python that has its library's "
            "source"
        )
    return named_files


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


SOURCE = Source(Config, documents, fingerprint)
