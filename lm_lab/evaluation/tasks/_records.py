"""What tasks share: their files of JSON lines, read whole and checked before anything is scored."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lm_lab.data.formats.jsonl import object_of
from lm_lab.runs import reading
from lm_lab.types import UserError

T = TypeVar("T")
SUFFIXES = (".jsonl", ".jsonl.gz")


class Record(dict[str, Any]):
    """An object of a line, and where it stands."""

    where: str = ""

    def field(self, name: str, kind: type[T]) -> T:
        """A field. Raises UserError where it is missing, or of another type."""
        if name not in self:
            names = ", ".join(map(repr, self)) or "none"
            raise UserError(f"{self.where} has no field {name!r}; its fields: {names}")
        value = self[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            expected = {str: "text", int: "a whole number", list: "a list"}[kind]
            raise UserError(f"{self.where}: {name!r} must be {expected}, not {value!r:.60}")
        return value

    def texts(self, name: str) -> list[str]:
        """A field that is a list of texts. Raises UserError."""
        values = self.field(name, list)
        if not values or not all(isinstance(value, str) and value for value in values):
            raise UserError(f"{self.where}: {name!r} must list texts that are not empty")
        return values


def read(path: str) -> list[Record]:
    """The objects of a file of JSON lines (.gz too), or of all such files of a folder, by name.

    Raises UserError, with file and line.
    """
    place = Path(path).expanduser()
    files = [place]
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.name.endswith(SUFFIXES))
    if not files or not all(file.is_file() for file in files):
        raise UserError(
            f"path: no file {path!r} (from {Path.cwd()}), or a folder without "
            f"{' or '.join(SUFFIXES)}; give one of JSON lines"
        )
    records = [record for file in files for record in _read(file)]
    if not records:
        raise UserError(f"path: {path!r} is empty; give a file with a JSON object a line")
    return records


def text_of(path: str) -> str:
    """The text of a UTF-8 file (.gz too). Raises UserError for none, or an empty one."""
    text = _decoded(Path(path).expanduser())
    if not text:
        raise UserError(f"path: {path!r} is empty; give a file with text")
    return text


def _decoded(file: Path) -> str:
    try:
        data = reading.read_bytes(file)
        if file.name.endswith(".gz"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"path: {file} is not UTF-8 (byte {error.start}); convert it with iconv -t UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"path: cannot read {file} ({error}); is it whole, and readable?") from None


def _read(file: Path) -> list[Record]:
    records = []
    for number, line in enumerate(_decoded(file).split("\n"), 1):
        if not line.strip():
            continue
        where = f"path: {file}:{number}"
        try:
            record = Record(object_of(line))
        except ValueError as error:
            raise UserError(f"{where} {error}") from None
        record.where = where
        records.append(record)
    return records


def means(statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean of each statistic over documents."""
    return {name: float(values.mean()) for name, values in statistics.items()}


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Statistics f64[documents] by name of rows that all have the same names."""
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}
