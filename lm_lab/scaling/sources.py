"""Reads tables as plain columns: CSV, TSV, JSON lines, Parquet, dicts, rows, data frames."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from lm_lab.types import UserError


class Frame(Protocol):
    """A data frame of pandas or polars, or a table of pyarrow."""

    @property
    def columns(self) -> Iterable[object]:
        """Of pandas and polars the names of the columns."""
        ...


Columns = dict[str, list[Any]]
Source = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | Frame | str | Path
"""A file's path, columns by name, rows, or a data frame."""
FORMATS = ".csv, .tsv, .jsonl, .parquet"
_FRAMES: dict[str, tuple[str, Callable[[Any], list[str]], Callable[[Any], dict[Any, Any]]]] = {
    "pandas": ("DataFrame", lambda f: [*map(str, f.columns)], lambda f: f.to_dict(orient="list")),
    "polars": ("DataFrame", lambda f: [*f.columns], lambda f: f.to_dict(as_series=False)),
    "pyarrow": ("Table", lambda f: [*f.column_names], lambda f: f.to_pydict()),
}
"""Of each package: the class of its frames, the names of the columns, the columns as lists."""


def read_columns(source: Source) -> tuple[Columns, str]:
    """(the columns of a table, its name in messages). Raises UserError, in one line, for a file
    that cannot be read or is no table, and for columns of one name or of unequal lengths.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        return _checked(_of_file(path), str(path)), str(path)
    return _checked(_of_python(source), "table"), "table"


def _checked(columns: Columns, where: str) -> Columns:
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or not max(lengths.values()):
        raise UserError(f"{where}: no rows; give a line of names and a row a run")
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: its columns must be of one length, not {lengths}")
    return columns


def _of_python(source: Source) -> Columns:
    if isinstance(source, Mapping):
        return {str(name): list(values) for name, values in source.items()}
    for package, (kind, names, convert) in _FRAMES.items():
        module = sys.modules.get(package)  # whoever made a data frame has imported its package
        if isinstance(module, ModuleType) and isinstance(source, vars(module)[kind]):
            _check_names(names(source), "table")
            return {str(name): list(values) for name, values in convert(source).items()}
    if isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        return _of_rows(source)
    raise UserError(
        f"table: a {type(source).__name__} is none; give a file's path, a dict of columns, a list "
        "of dicts, or a data frame"
    )


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _of_file(path: Path) -> Columns:
    if path.is_dir():
        raise UserError(f"{path}: a folder without a sweep.json; name a sweep's folder or a table")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a table ({FORMATS})")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return _of_parquet(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); name a table") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: no UTF-8 text; name a table ({FORMATS})") from None
    if not text.strip():
        raise UserError(f"{path}: empty; give a line of names and a row a run")
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _of_rows(_json_rows(text, path))
    return _of_lines(text, path)


def _json_rows(text: str, path: Path) -> list[dict[str, Any]]:
    """The objects of JSON lines, or of one JSON list."""
    if text.lstrip().startswith("["):
        rows: list[Any] = _parsed(text, str(path))
    else:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        rows = [_parsed(line, f"{path}, line {number}") for number, line in lines]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is no JSON object; give one a run, by column")
    return rows


def _parsed(text: str, where: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_names([name for name, _ in items], where)
        return dict(items)

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: no JSON ({error}); give an object a line") from None


def _of_lines(text: str, path: Path) -> Columns:
    """A CSV or TSV file; the separator is the commonest of the first line's tabs, commas and
    semicolons.
    """
    first = text.lstrip("\n").partition("\n")[0]
    separator = max("\t,;", key=first.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: no table ({error}); name a table ({FORMATS})") from None
    numbered = [(number, cells) for number, cells in enumerate(lines, 1) if any(cells)]
    (_, header), rows = numbered[0], numbered[1:]
    names = [name.strip() for name in header]
    if all(_is_number(name) for name in names if name):
        raise UserError(f"{path}: its first line has numbers, not names; put names above them")
    if not names[-1] and all(len(cells) < len(names) or not cells[-1] for _, cells in rows):
        names.pop()  # a separator at the end of every line
    _check_names(names, str(path))
    for number, cells in rows:
        if len([*filter(None, cells[len(names) :])]) or len(cells) < len(names):
            raise UserError(
                f"{path}, line {number}: {len(cells)} cells under {len(names)} names; mend the line"
            )
    return {name: [cells[i].strip() for _, cells in rows] for i, name in enumerate(names)}


def _check_names(names: Sequence[str], where: str) -> None:
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise UserError(f"{where}: two columns are called {duplicates[0]!r}; rename one")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_parquet(path: Path) -> Columns:
    from pyarrow import parquet  # takes half a second

    try:
        return _of_python(parquet.read_table(path))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: no Parquet ({error}); name a table ({FORMATS})") from None
