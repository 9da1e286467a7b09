"""Files named by config.data.source.path, in a fixed order, read as UTF-8, with one-line errors."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lm_lab.data.documents import digest
from lm_lab.data.published import origin
from lm_lab.runs import reading
from lm_lab.types import Document, UserError

KEY = "config.data.source.path"


def find(path: str, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(name, file) of the file at `path`, or of the folder's files
    with the suffixes, sorted by name.

    Names are relative to the folder, so that they do not depend on the machine. Raises UserError if
    there is no file.
    """
    root = Path(path).expanduser()
    if root.is_file():
        return [(root.name, root)]
    if not path or not root.is_dir():
        raise UserError(
            f"{KEY}: no file or folder {path!r} (from {Path.cwd()}); give an existing "
            f"one{origin(root)}"
        )
    found = [
        (file.relative_to(root).as_posix(), file)
        for file in walk(root)
        if file.name.endswith(suffixes)
    ]
    if not found:
        raise UserError(
            f"{KEY}: no file below {path!r} ends in {' or '.join(suffixes)}; name another folder "
            "or suffix"
        )
    return sorted(found)


def walk(root: Path, skip_folders: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Every file below a folder; folders named in `skip_folders` are not entered."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in skip_folders]
        for name in names:
            yield Path(folder, name)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises UserError if it cannot be read."""
    try:
        return reading.read_bytes(path)
    except OSError as error:
        raise UserError(
            f"{KEY}: cannot read {path} ({error.strerror}); mend that, or leave it out"
        ) from None


def decode(data: bytes, where: str) -> str:
    """Decodes UTF-8 bytes without any translation. Raises UserError,
    which names `where`, for others.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise UserError(
            f"{KEY}: {where} is not UTF-8 (byte 0x{byte:02x} at offset {error.start}); convert it "
            "with iconv -t UTF-8"
        ) from None


def fingerprint(found: list[tuple[str, Path]], *settings: str) -> str:
    """Digest of names and contents of files, and of the settings by which they are read."""
    contents = (part for name, path in found for part in (name, read_bytes(path)))
    return digest([*settings, digest(contents)])


def with_text(documents: Iterable[Document], path: str) -> Iterator[Document]:
    """The documents that are not empty. Raises UserError, which names `path`, if all are."""
    found = False
    for document in documents:
        if document.text:
            found = True
            yield document
    if not found:
        raise UserError(
            f"{KEY}: {path!r} is empty: it holds no text; give a file or folder that does"
        )
