"""The source of the Python standard library: real text that is everywhere, with no download (about
23 MB).
"""

import dataclasses
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from lm_lab.contracts import Source
from lm_lab.data import files
from lm_lab.data.documents import digest
from lm_lab.types import Document, UserError

# A larger file is mostly a table (encodings, topics, test vectors), and would be a large part of
# the held-out text.
LARGEST_BYTES = 100_000
NOT_OF_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: the interpreter decides."""


def documents(config: Config) -> Iterator[Document]:
    """Every .py file of the running interpreter's library, tests too, below 100 kB, in order of
    their names.

    Empty files and those that are not UTF-8 (a few tests of encodings) are left out.
    """
    for name, data in _contents(_root()):
        yield Document(name, data.decode())


def fingerprint(config: Config) -> str:
    """Digest of all files, names and contents: another interpreter, or a changed library, is
    another corpus.
    """
    return digest(["stdlib", *(part for item in _contents(_root()) for part in item)])


def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _contents(root: Path) -> Iterator[tuple[str, bytes]]:
    found = _list(root)
    if not found:
        raise UserError(
            f"config.data.source: no .py file below {root}; use a Python that has its library's "
            "source"
        )
    for name, path in found:
        data = files.read_bytes(path)
        if 0 < len(data) < LARGEST_BYTES and _is_utf8(data):
            yield name, data


def _list(root: Path) -> list[tuple[str, Path]]:
    paths = (path for path in files.walk(root, NOT_OF_THE_LIBRARY) if path.suffix == ".py")
    return sorted((path.relative_to(root).as_posix(), path) for path in paths)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


SOURCE = Source(Config, documents, fingerprint)
