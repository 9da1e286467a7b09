"""A table of runs from anywhere: named float64 columns, and where each came from."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lm_lab.scaling import checks, columns
from lm_lab.scaling.records import Caution
from lm_lab.types import UserError

Array = np.ndarray
Unit = Literal["token", "byte"]
_SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_EMPTY = ("", "none", "null", "nan", "na", "n/a", "-")


@dataclass(frozen=True)
class Table(Mapping[str, Array]):
    """Columns f64[n] by standard name (columns.MEANINGS); NaN: no value.

    names     of the runs, n of them, for messages
    settings  what else a run was set to: n values by the table's own names
    origins   where each column came from, as "column 'N (B)', in B: times 1e+09"
    metrics   f64[n] of tasks by the table's own names, as "hellaswag_acc"; NaN: no value
    unit      a loss is in nats a token, or a byte
    cautions  of rows that lack a number that is needed, and of losses that look like perplexities
    """

    columns: Mapping[str, Array]
    names: tuple[str, ...]
    settings: Mapping[str, tuple[Any, ...]]
    origins: Mapping[str, str]
    metrics: Mapping[str, Array] = field(default_factory=dict)
    unit: Unit = "token"
    cautions: tuple[Caution, ...] = ()

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        """The number of columns, as of any mapping; `rows` is that of the rows."""
        return len(self.columns)

    @property
    def rows(self) -> int:
        return len(self.names)

    def where(self, chosen: Array) -> "Table":
        """The rows selected by a mask or an index array."""
        indices = np.arange(self.rows)[chosen]
        return replace(
            self,
            columns={name: values[indices] for name, values in self.columns.items()},
            names=tuple(self.names[i] for i in indices),
            settings={
                name: tuple(values[i] for i in indices) for name, values in self.settings.items()
            },
            metrics={name: values[indices] for name, values in self.metrics.items()},
        )

    def described(self) -> list[str]:
        """A line a column: what it is and where it came from."""
        return [f"{name} ({columns.MEANINGS[name]}): {self.origins[name]}" for name in self.columns]


def make_table(
    source: Mapping[str, Sequence[Any]],
    chosen: Mapping[str, str] | None = None,
    *,
    needed: Sequence[str] = ("params", "tokens", "loss"),
    rows: Mapping[str, str] | None = None,
    where: str = "table",
    counted: bool = False,
) -> Table:
    """Reads a table's columns, found by their usual names or by `chosen` (columns.choose).

    rows      the values that these columns of the table must have: other rows are no part of it
    counted   whether sizes, tokens and FLOPs are known to be plain numbers, as those of a sweep
    Where they are absent, C is 6 N D, D is C / (6 N), N is C / (6 D) and a share of errors is one
    less that of right answers; `origins` says so. A row that lacks a needed number is left out with
    a caution. Raises UserError, one line that begins with `where`, for what cannot be read, is
    ambiguous, or is no such quantity (text, a negative size, tokens in another unit).
    """
    source = _selected(source, rows or {}, where)
    texts = {name for name, cells in source.items() if checks.is_text(cells)}
    choices = columns.choose(list(source), chosen or {}, texts, where)
    read = {
        name: choice.factor * _numbers(name, source[choice.source], choice.source, where)
        for name, choice in choices.items()
    }
    origins = {name: choice.words() for name, choice in choices.items()}
    _complete(read, origins)
    absent = [name for name in needed if name not in read]
    if absent:
        raise UserError(f"{where}: {_absent(absent, list(source), texts)}")
    used = {choice.source for choice in choices.values()}
    unread = {name: values for name, values in source.items() if name not in used}
    names, settings = _names(unread, len(read[needed[0]])), _settings(unread)
    ordered = {name: read[name] for name in columns.MEANINGS if name in read}
    table = Table(
        ordered, names, settings, origins, _metrics(source, choices, texts), _unit(choices)
    )
    table = _whole(_with_status(table, source), needed, where)
    if not counted:
        stated = {name for name, choice in choices.items() if choice.unit}
        checks.check_units(table.columns, table.origins, where, stated)
    if "loss" not in choices:
        return table
    doubts = checks.perplexity_cautions(table, choices["loss"].source, _vocab(source))
    doubts += checks.unlike_cautions(table.settings, table.unit)
    return replace(table, cautions=(*table.cautions, *doubts))


def _vocab(source: Mapping[str, Sequence[Any]]) -> float | None:
    """The size of the largest vocabulary, of a column that is called so."""
    cells = (cell for name in source if columns.is_vocab(name) for cell in source[name])
    sizes = [size for size in map(_score, cells) if np.isfinite(size) and size > 1]
    return max(sizes, default=None)


def _absent(names: Sequence[str], among: list[str], texts: Collection[str]) -> str:
    """What to say of standard columns that are not there: the table has one as text, or none at
    all.
    """
    known = [(column, columns.recognise(column)) for column in among if column in texts]
    for column, recognised in known:
        if recognised is not None and recognised[0] in names:
            return f"column {column!r} holds no number; give {columns.MEANINGS[recognised[0]]}"
    meant = " or ".join(f"{name} ({columns.MEANINGS[name]})" for name in names)
    given = ",".join(f"{name}=NAME" for name in names)
    python = ", ".join(f"'{name}': 'NAME'" for name in names)
    return (
        f"no column is known as {meant} among {_listed(among)}; name it by --columns={given} "
        f"(in Python columns={{{python}}})"
    )


def _unit(found: Mapping[str, columns.Choice]) -> Unit:
    return "byte" if "loss" in found and found["loss"].byte else "token"


def _metrics(
    source: Mapping[str, Sequence[Any]],
    choices: Mapping[str, columns.Choice],
    texts: Collection[str],
) -> dict[str, Array]:
    """The columns that are metrics of tasks: by their names, or chosen as accuracy or error."""
    chosen = {choices[name].source for name in ("accuracy", "error") if name in choices}
    read = {choice.source for choice in choices.values()} - chosen
    names = [
        name
        for name in source
        if name in chosen or (columns.is_metric(name) and name not in {*texts, *read})
    ]
    return {name: np.array([_score(cell) for cell in source[name]]) for name in names}


def _score(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


def _selected(
    source: Mapping[str, Sequence[Any]], rows: Mapping[str, str], where: str
) -> Mapping[str, Sequence[Any]]:
    count = len(next(iter(source.values())))
    row_numbers = list(range(count))
    for name, value in rows.items():
        if name not in source:
            raise UserError(
                f"{where}: rows: the table has no column {name!r}; it has {_listed(list(source))}"
            )
        row_numbers = [i for i in row_numbers if str(source[name][i]) == str(value)]
        if not row_numbers:
            values_of_column = list(dict.fromkeys(str(cell) for cell in source[name]))
            raise UserError(
                f"{where}: rows: no row has {name}={value}; it is {_listed(values_of_column)}"
            )
    return {name: [values[i] for i in row_numbers] for name, values in source.items()}


def _numbers(name: str, cells: Sequence[Any], column: str, where: str) -> Array:
    counts = columns.is_count(name)
    return np.array(
        [_number(cell, counts, f"{where}, row {i}: {column}") for i, cell in enumerate(cells, 1)],
        np.float64,
    )


def _number(cell: Any, counts: bool, where: str) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _EMPTY):
        return np.nan
    short = (
        re.fullmatch(r"\s*([\d.]+)\s*([kmbt])\s*", cell, re.I) if isinstance(cell, str) else None
    )
    try:
        if counts and short:  # "70M"
            return float(short[1]) * _SUFFIXES[short[2].lower()]
        if isinstance(cell, bool):
            raise ValueError
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"{where} must be a number, not {str(cell)[:60]!r}; write it with a decimal point "
            "and without separators or units"
        ) from None


def _complete(read: dict[str, Array], origins: dict[str, str]) -> None:
    """Adds columns that follow from others, by the convention that `origins` names."""

    def add(name: str, values: Array, convention: str) -> None:
        if name not in read:
            read[name], origins[name] = values, convention
        elif (missing := np.isnan(read[name]) & ~np.isnan(values)).any():
            read[name] = np.where(missing, values, read[name])
            origins[name] += f"; {convention} in {missing.sum()} rows without"

    if "params" in read and "tokens" in read:
        with np.errstate(over="ignore"):  # checked later, as any other infinite value
            product = 6 * read["params"] * read["tokens"]
        add("flops", product, "assumed C = 6 N D")
    elif "params" in read and "flops" in read:
        add("tokens", read["flops"] / (6 * read["params"]), "assumed D = C / (6 N)")
    elif "tokens" in read and "flops" in read:
        add("params", read["flops"] / (6 * read["tokens"]), "assumed N = C / (6 D)")
    if "epochs" in read and "tokens" in read:
        add("unique_tokens", read["tokens"] / read["epochs"], "tokens over epochs")
    if "error" in read:
        add("accuracy", 1 - read["error"], "1 - error")


def _names(rest: Mapping[str, Sequence[Any]], count: int) -> tuple[str, ...]:
    """The first column of names that is one a row; else the number of the row."""
    for name, values in rest.items():
        if name.strip().lower() in columns.RUN_NAMES and len({*map(str, values)}) == count:
            return tuple(map(str, values))
    return tuple(f"row {i}" for i in range(1, count + 1))


def _settings(rest: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    """The columns that are settings of a run: those of words, and those known by their names."""
    settings = {}
    for name, values in rest.items():
        texts = any(isinstance(cell, str) and checks.literal(cell) == cell for cell in values)
        is_standard = name.strip().lower() in (*columns.RUN_NAMES, "status", "message")
        if columns.is_setting(name) or (texts and not is_standard):
            settings[name] = tuple(checks.literal(cell) for cell in values)
    return settings


def _with_status(table: Table, source: Mapping[str, Sequence[Any]]) -> Table:
    """A column "status", as of a sweep: a diverged run has an infinite loss, and an incomplete one
    has none.
    """
    if "status" not in source or "loss" not in table:
        return table
    status = np.array([str(cell) for cell in source["status"]])
    loss = np.where(status == "diverged", np.inf, table["loss"])
    loss = np.where(np.isin(status, ("diverged", "complete", "")), loss, np.nan)
    return replace(table, columns={**table.columns, "loss": loss})


def _whole(table: Table, needed: Sequence[str], where: str) -> Table:
    """The rows that have all needed columns. Raises UserError for impossible values."""
    present = np.ones(table.rows, bool)
    for name in needed:
        present &= ~np.isnan(table[name])
    if not present.any():
        raise UserError(f"{where}: no row has all of {', '.join(needed)}; fill its empty cells")
    cautions = tuple(
        Caution("run left out", table.names[i], f"it lacks one of {', '.join(needed)}")
        for i in np.flatnonzero(~present)
    )
    complete = replace(table.where(present), cautions=cautions)
    checks.check_values(complete.columns, complete.names, where)
    return complete


def _listed(words: list[str]) -> str:
    shown = ", ".join(map(repr, words[:12]))
    return f"{shown}, ..." if len(words) > 12 else shown
