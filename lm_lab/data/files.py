"""Files named by config.data.source.path and its like, in a fixed order, with one-line errors."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lm_lab.data.faults import SOURCE, Decoder, fault
from lm_lab.data.published import origin
from lm_lab.runs import reading
from lm_lab.types import Document


def find(path: str, suffixes: tuple[str, ...], key: str = "path") -> list[tuple[str, Path]]:
    """(name, file) of the file at `path`, or of the folder's files
    with the suffixes, sorted by name.

    Names are relative to the folder, so that they do not depend on the machine. Raises UserError if
    there is no file.
    """
    root = Path(path).expanduser()
    if root.is_file():
        return [(root.name, root)]
    if not path or not root.is_dir():
        raise absent(path, key)
    matches = [
        (file.relative_to(root).as_posix(), file)
        for file in walk(root, key=key)
        if file.name.endswith(suffixes)
    ]
    if not matches:
        raise fault(
            key,
            f"no file below {path!r} ends in {' or '.join(suffixes)}; name another folder or "
            "suffix",
        )
    return sorted(matches)


def single(path: str, key: str) -> Path:
    """The file that a setting names. Raises UserError if it does not exist."""
    file = Path(path).expanduser()
    if not path or not file.is_file():
        raise absent(path, key, "file")
    return file


def absent(path: str, key: str, wanted: str = "file or folder") -> Exception:
    """The error about a path that does not exist."""
    return fault(
        key,
        f"no {wanted} {path!r} (from {Path.cwd()}); give an existing one by "
        f"--{SOURCE}.{key}=PATH{origin(Path(path).expanduser())}",
    )


def walk(
    root: Path, skip: Callable[[str], bool] = lambda name: False, key: str = "path"
) -> Iterator[Path]:
    """Every file below a folder; folders whose name is to be skipped are not entered. Raises
    UserError for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise fault(
            key, f"cannot read {error.filename} ({error.strerror}); mend that, or name a glob"
        )

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not skip(name)]
        for name in names:
            yield Path(folder, name)


def read_bytes(path: Path, key: str = "path") -> bytes:
    """The content of a file. Raises UserError if it cannot be read."""
    try:
        return reading.read_bytes(path)
    except OSError as error:
        raise fault(
            key, f"cannot read {path} ({error.strerror}); mend that, or leave it out"
        ) from None


def some(documents: Iterable[Document], given: object, decoder: Decoder) -> Iterator[Document]:
    """The documents. Raises UserError, which names the setting and its value, if there are none, or
    none whose bytes could be decoded.
    """
    has_any = False
    for document in documents:
        has_any = True
        yield document
    if not has_any and decoder.count:
        raise fault(
            decoder.key,
            f"{given!r} holds no text that is UTF-8, and config.data.source.errors leaves out what "
            "is not; convert it with iconv -t UTF-8, or set that to replace",
        )
    if not has_any:
        raise fault(decoder.key, f"{given!r} is empty: it holds no text; give files that do")
