"""A scaling law fitted to any table of losses: runs of lm_lab, or a CSV file from anywhere."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lm_lab.report import formatting, style
from lm_lab.report.analyses.isoflop import figures
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.runs import reading
from lm_lab.scaling.analysis import analyse_isoflop
from lm_lab.scaling.points import points_from_rows
from lm_lab.scaling.records import Caution, IsoflopAnalysis, Predictor, Refusal, Surface
from lm_lab.types import UserError

Row = dict[str, Any]
Table = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | str | Path
"""Rows, columns by name, or the path of a CSV file with a line of names. Of a pandas.DataFrame give
dict(frame).
"""


@dataclass(frozen=True)
class Law:
    """What a table says of loss, size and data; printed, its numbers with their intervals.

    analysis  every fit with its intervals, refusals and cautions (lm_lab.scaling.records)
    rows      the table that it was fitted to
    """

    analysis: IsoflopAnalysis
    rows: Sequence[Row]

    @property
    def surface(self) -> Surface:
        """L(N, D) = E + A N^-alpha + B D^-beta (2203.15556); each has value, low and high.

        Raises UserError, with the reason, where it could not be fitted.
        """
        if self.analysis.surface is None:
            why = "; ".join(f"{each.where}: {each.message}" for each in self.analysis.refusals)
            raise UserError(f"no surface could be fitted: {why}")
        return self.analysis.surface

    def loss(self, params: float, tokens: float) -> float:
        """The surface's loss of a model of so many parameters after so many tokens."""
        return self.surface.at(params, tokens)

    def figure(self, kind: str = "frontier") -> Figure:
        """One of the report's figures, by name: frontier (the lowest loss against compute),
        allocation, valleys, residuals, contour, ...

        Raises UserError for one that is unknown, or lacks its data.
        """
        made = {each.name: each for each in figures.of(self.analysis, Source(rows=self.rows))}
        if kind not in made:
            raise UserError(f"kind must be one of {', '.join(made)}, not {kind!r}")
        with style.applied():
            return made[kind].draw()

    def __str__(self) -> str:
        analysis, lines = self.analysis, []
        if analysis.surface is not None:
            lines.append("L(N, D) = E + A / N^alpha + B / D^beta")
            names = ("E", "A", "B", "alpha", "beta")
            found = {name: getattr(analysis.surface, name) for name in names}
            lines += [f"  {name:5} {formatting.estimate(of)}" for name, of in found.items()]
        for each in analysis.frontiers:
            params, tokens = map(formatting.estimate, (each.exponent_params, each.exponent_tokens))
            lines.append(f"{each.method}: N* ~ C^a, a = {params};  D* ~ C^b, b = {tokens}")
        lines += _grouped("refused", analysis.refusals)
        return "\n".join(lines + _grouped("caution", analysis.cautions))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        del cycle
        printer.text(str(self))


def _grouped(label: str, notes: Sequence[Refusal | Caution]) -> list[str]:
    """A line a kind of refusal or caution: the first, and how many more there are."""
    lines = []
    for kind in dict.fromkeys(note.kind for note in notes):
        first, *others = [note for note in notes if note.kind == kind]
        more = f" (and {len(others)} more)" if others else ""
        lines.append(f"{label}, {kind}: {formatting.placed(first.where, first.message)}{more}")
    return lines


def fit_law(
    table: Table,
    *,
    params: str = "params",
    tokens: str = "tokens",
    loss: str = "loss",
    flops: str = "flops",
    held_out_budget: float | None = None,
    predictor: Predictor = "surface",
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """The laws of a table: a surface L(N, D), and valleys where runs share budgets of compute.

    `params`, `tokens`, `loss` (nats a token) and `flops` name its columns; without the last, C is
    6 N D. Rows may have "budget_flops", "optimizer.peak_rate", "seed" and "status" too, as those of
    a sweep. Intervals hold `level` of so many bootstrap `resamples`. No fit sees `held_out_budget`
    or a larger one. Poor data make refusals and cautions in the law; a column that is not there, or
    no number, is a UserError.

    >>> sizes, tokens = [1e6, 4e6, 16e6] * 3, [2e7] * 3 + [1e8] * 3 + [5e8] * 3
    >>> losses = [1.7 + 400 / n**0.34 + 410 / d**0.28 for n, d in zip(sizes, tokens)]
    >>> law = lm_lab.fit_law({"params": sizes, "tokens": tokens, "loss": losses}, resamples=50)
    >>> round(law.surface.alpha.value, 2), round(law.loss(1e9, 2e10), 2)
    (0.34, 2.58)
    >>> law.figure("frontier").axes[0].get_xlabel()
    'compute $C$ (FLOPs)'
    """
    names = {"params": params, "tokens": tokens, "loss": loss}
    rows = [_named(row, names, flops) for row in rows_of(table)]
    if not rows:
        raise UserError("table has no rows; give one a run")
    analysis = analyse_isoflop(
        points_from_rows(rows), held_out_budget, predictor, level, resamples, seed
    )
    return Law(analysis, rows)


def rows_of(table: Table) -> list[Row]:
    """The rows of a table, in its order. Raises UserError for columns of unequal lengths, or a file
    that is no table.
    """
    if isinstance(table, str | Path):
        return _read(Path(table).expanduser())
    if not isinstance(table, Mapping):
        return [dict(row) for row in table]
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"table: its columns must be of one length, not {lengths}")
    return [dict(zip(table, values)) for values in zip(*table.values())]


def _read(path: Path) -> list[Row]:
    try:
        lines = reading.read_bytes(path).decode().splitlines()
        return list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"table: cannot read {path}: {error}; name a CSV file") from None


def _named(row: Mapping[str, Any], names: Mapping[str, str], flops: str) -> Row:
    """The row with the columns' usual names."""
    for argument, column in names.items():
        if column not in row:
            known = ", ".join(map(str, row))
            raise UserError(f"{argument}: the table has no column {column!r}; it has {known}")
    found = {**row, **{name: row[column] for name, column in names.items()}}
    if row.get(flops) in (None, ""):
        return found | {"flops": _six_n_d(found)}
    return found | {"flops": row[flops]}


def _six_n_d(row: Mapping[str, Any]) -> float | None:
    try:
        return 6 * float(row["params"]) * float(row["tokens"])
    except (TypeError, ValueError):
        return None  # which points_from_rows names
