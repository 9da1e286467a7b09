"""Scaling laws fitted to any table: runs of lm_lab, a published CSV file, a data frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from lm_lab.report import formatting, style, tables
from lm_lab.report.analyses.isoflop import allocation, frontier, residuals, valleys
from lm_lab.report.analyses.isoflop.results import Results, Settings, analyse
from lm_lab.runs.sweep import Row
from lm_lab.scaling.records import Caution, IsoflopAnalysis, Predictor, Refusal, Surface
from lm_lab.scaling.sources import Columns, Source, read_columns
from lm_lab.scaling.table import Table, make_table
from lm_lab.schema import build
from lm_lab.sweeps import results as sweeps
from lm_lab.types import UserError


@dataclass(frozen=True)
class Law:
    """What a table says of loss, size and data; printed, its numbers with their intervals.

    table    the columns as they were read, and where each came from
    results  every fit with its intervals, refusals and cautions
    """

    table: Table
    results: Results
    name: str
    """Of the table, for its report."""

    @property
    def analysis(self) -> IsoflopAnalysis:
        """The records of the fits (lm_lab.scaling.records)."""
        return self.results.analysis

    @property
    def rows(self) -> list[Row]:
        """The rows with a finite loss, as those of a sweep."""
        return [row for row in tables.rows_of(self.table) if row["loss"] is not None]

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

    def figure(
        self, kind: Literal["frontier", "allocation", "valleys", "residuals"] = "frontier"
    ) -> Figure:
        """One of the report's figures.

        frontier    the lowest loss against compute
        allocation  optimal parameters and tokens against compute
        valleys     loss against parameters at each budget
        residuals   what the surface leaves unexplained
        """
        draw = {
            "frontier": lambda: frontier.draw(self.analysis, self.table.unit),
            "allocation": lambda: allocation.draw(self.analysis),
            "valleys": lambda: valleys.draw(self.analysis, self.rows, self.table.unit),
            "residuals": lambda: residuals.draw(self.analysis, self.table.unit),
        }
        if kind not in draw:
            raise UserError(f"kind must be one of {', '.join(draw)}, not {kind!r}")
        if kind == "residuals":
            self.surface  # noqa: B018 - says why there is none
        with style.applied():
            return draw[kind]()

    def report(self, directory: str | Path, command: str = "lm_lab.fit(...).report(...)") -> Path:
        """Writes report.html with figures, as of a study, into a folder; the page's path."""
        folder = Path(directory).expanduser()
        return tables.write(self.table, self.results, folder, self.name, command)

    def __str__(self) -> str:
        analysis = self.analysis
        lines = [f"{self.table.rows} rows of {self.name}", *_indented(self.table.described())]
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


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _grouped(label: str, notes: Sequence[Refusal | Caution]) -> list[str]:
    """A line a kind of refusal or caution: the first, and how many more there are."""
    lines = []
    for kind in dict.fromkeys(note.kind for note in notes):
        first, *others = [note for note in notes if note.kind == kind]
        more = f" (and {len(others)} more)" if others else ""
        lines.append(f"{label}, {kind}: {formatting.placed(first.where, first.message)}{more}")
    return lines


def fit(
    table: Source,
    *,
    columns: Mapping[str, str] | None = None,
    rows: Mapping[str, str] | None = None,
    held_out_budget: float | None = None,
    predictor: Predictor = "surface",
    level: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """The laws of a table: a surface L(N, D), and valleys where runs share budgets of compute.

    `table` is a file (CSV, TSV, JSON lines, Parquet), a sweep's directory, rows, columns by name,
    or a data frame. Its columns are known by their usual names ("N", "n_params", "Model Size (B)",
    "tokens", "val_loss", ...), or by `columns`: standard name to column, or "column:unit", as in
    {"params": "size:billions", "loss": "bpb:bits/byte"} (lm_lab.scaling.columns.MEANINGS has the
    standard names). Without compute, C is 6 N D. `rows` keeps those with these values of columns.
    Settings that differ within a size and budget are tuned over: the best is taken, and named.
    Intervals hold `level` of so many bootstrap `resamples`. No fit sees `held_out_budget` or a
    larger one.

    Poor data make refusals and cautions in the law; what cannot be read is a UserError.

    >>> sizes, tokens = [1e6, 4e6, 16e6] * 3, [2e7] * 3 + [1e8] * 3 + [5e8] * 3
    >>> losses = [1.7 + 400 / n**0.34 + 410 / d**0.28 for n, d in zip(sizes, tokens)]
    >>> law = lm_lab.fit({"params": sizes, "tokens": tokens, "loss": losses}, resamples=50)
    >>> round(law.surface.alpha.value, 2), round(law.loss(1e9, 2e10), 2)
    (0.34, 2.58)
    >>> law.figure("frontier").axes[0].get_xlabel()
    'compute $C$ (FLOPs)'
    """
    values = {
        "held_out_budget": held_out_budget,
        "predictor": predictor,
        "level": level,
        "draws": resamples,
        "seed": seed,
    }
    settings = build(Settings, values, "fit")
    source, where = _columns_of(table)
    read = make_table(source, columns, rows=rows, where=where)
    results = analyse(tables.rows_of(read), settings)
    return Law(read, results, Path(where).name)


def _columns_of(table: Source) -> tuple[Columns, str]:
    """(the columns of a table, its name): a sweep's directory, or what `read_columns` takes."""
    if isinstance(table, str | Path):
        directory = Path(table).expanduser()
        if (directory / "sweep.json").is_file():
            rows = sweeps.collect(directory)
            return {key: [row.get(key) for row in rows] for key in rows[0]}, str(directory)
    return read_columns(table)
