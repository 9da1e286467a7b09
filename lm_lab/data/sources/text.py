"""Text files: every file is a document."""

import dataclasses
from collections.abc import Iterator

from lm_lab.contracts import Source
from lm_lab.data import files
from lm_lab.schema import setting
from lm_lab.types import Document


@dataclasses.dataclass(frozen=True)
class Config:
    """Which files to read."""

    path: str = setting(
        "a UTF-8 text file, or a folder that is read with all folders below it", names_file=True
    )
    suffix: str = setting("in a folder, read the files whose names end so", ".txt")


def documents(config: Config) -> Iterator[Document]:
    """The files in order of names, without empty ones. Raises UserError
    for one that is not UTF-8.
    """
    found = files.find(config.path, (config.suffix,))
    read = (Document(name, files.decode(files.read_bytes(path), str(path))) for name, path in found)
    return files.with_text(read, config.path)


def fingerprint(config: Config) -> str:
    """Digest of the names and contents of all files."""
    return files.fingerprint(files.find(config.path, (config.suffix,)), "text")


SOURCE = Source(Config, documents, fingerprint)
