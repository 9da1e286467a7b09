"""Scaling laws fitted to any table: runs of lm_lab, a published CSV file, a data frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from matplotlib.figure import Figure

from lm_lab import registry
from lm_lab.report import formatting, forms, page, style, tables
from lm_lab.report.analyses.isoflop import figures
from lm_lab.report.analyses.isoflop.results import Results, Settings, analyse
from lm_lab.runs.sweep import read_sweep
from lm_lab.scaling.conditions import best_of_each
from lm_lab.scaling.contract import Form, FormFit
from lm_lab.scaling.records import Caution, IsoflopAnalysis, Predictor, Refusal, Surface
from lm_lab.scaling.sources import Columns, Source, read_columns
from lm_lab.scaling.table import Table, make_table
from lm_lab.schema import build, suggest
from lm_lab.sweeps import results as sweeps
from lm_lab.types import UserError

FORMS = "scaling.forms"
ISOFLOP = "isoflop"  # the law by default: valleys and surface
FEWEST = 20  # resamples that an interval can be read off
_COMMAND = "lm_lab.fit(table, ...).report(directory)"


@dataclass(frozen=True)
class Law:
    """The laws of loss, size and data fitted to a table. Printed, it shows its numbers with their
    intervals.

    table    the columns as they were read, and where each came from
    results  every fit with its intervals, refusals and cautions
    name     of the table, for its report

    >>> isinstance(law, lm_lab.Law), law.loss(1e9, 2e10) < law.loss(1e8, 2e10)
    (True, True)
    """

    table: Table
    results: Results
    name: str

    @property
    def analysis(self) -> IsoflopAnalysis:
        """The records of the fits (lm_lab.scaling.records)."""
        return self.results.analysis

    @property
    def surface(self) -> Surface:
        """L(N, D) = E + A N^-alpha + B D^-beta (2203.15556); each has value, low and high.

        Raises UserError, with the reason, where it could not be fitted.
        """
        if self.analysis.surface is None:
            reasons = "; ".join(
                f"{refusal.where}: {refusal.message}" for refusal in self.analysis.refusals
            )
            raise UserError(f"no surface could be fitted: {reasons}")
        return self.analysis.surface

    def check_answered(self) -> None:
        """Raises UserError, with the first reason, where nothing could be fitted."""
        if self.analysis.surface is None and not self.analysis.valleys:
            raise UserError(_unanswered(self.name, self.analysis.refusals[0]))

    def loss(self, params: float, tokens: float) -> float:
        """The surface's loss of a model of so many parameters after so many tokens."""
        return self.surface.at(params, tokens)

    def figure(self, kind: str = "frontier") -> Figure:
        """One of the report's figures, by name: frontier (the lowest loss against compute),
        allocation, valleys, residuals, contour, ...

        Raises UserError for one that is unknown, or lacks its data.
        """
        source = tables.source_of(self.table)
        return _drawn(figures.of(self.analysis, source), kind)

    def report(self, directory: str | Path, command: str = _COMMAND) -> Path:
        """Writes report.html with figures, as of a study, into a folder; the page's path."""
        folder = Path(directory).expanduser()
        page_content = tables.isoflop_report(self.table, self.results, folder)
        return tables.write(self.table, page_content, self.results, folder, self.name, command)

    def __str__(self) -> str:
        analysis, lines = self.analysis, _read(self.table, self.name)
        if analysis.surface is not None:
            at_bound = any(c.kind == "parameter at a bound" for c in analysis.cautions)
            doubt = ": no law of this form, a parameter lies at its bound" if at_bound else ""
            lines.append(f"L(N, D) = E + A / N^alpha + B / D^beta{doubt}")
            names = ("E", "A", "B", "alpha", "beta")
            estimates = {name: getattr(analysis.surface, name) for name in names}
            lines += [
                f"  {name:5} {formatting.estimate(estimate)}"
                for name, estimate in estimates.items()
            ]
        for frontier in analysis.frontiers:
            params, tokens = map(
                formatting.estimate, (frontier.exponent_params, frontier.exponent_tokens)
            )
            lines.append(f"{frontier.method}: N* ~ C^a, a = {params};  D* ~ C^b, b = {tokens}")
        lines += _grouped("refused", analysis.refusals)
        return "\n".join(lines + _grouped("caution", analysis.cautions))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The text that a notebook shows."""
        del cycle
        printer.text(str(self))


@dataclass(frozen=True)
class FormLaw:
    """A law of another form, fitted to a table. Printed, it shows its parameters with their
    intervals.

    table  the columns that it was fitted to, and where each came from
    fit    the parameters, predictions and residuals, or the reason for a refusal
    """

    table: Table
    form: Form
    fit: FormFit | Refusal
    name: str
    level: float

    @property
    def fitted(self) -> FormFit:
        """The fit. Raises UserError, with the reason, where the law was refused."""
        if isinstance(self.fit, Refusal):
            raise UserError(_unanswered(self.name, self.fit))
        return self.fit

    def check_answered(self) -> None:
        """Raises UserError, with the reason, where the law was refused."""
        _ = self.fitted

    def predict(self, **inputs: float) -> tuple[float, float, float]:
        """(the target, the lower and the upper end of the law's interval) at the law's inputs, by
        name, as in predict(params=1e9, tokens=2e10).
        """
        fit = self.fitted
        absent = [name for name in fit.inputs if name not in inputs]
        if absent:
            raise UserError(
                f"{absent[0]} is missing; {self.form.name} needs {', '.join(fit.inputs)}"
            )
        columns = {name: np.array([float(value)]) for name, value in inputs.items()}
        value, low, high = self.form.predict(fit, columns, self.level)
        return float(value[0]), float(low[0]), float(high[0])

    def figure(self, kind: str = "predictions") -> Figure:
        """One of the report's figures: predictions (against what was observed), residuals, and, of
        a law with one input, law.
        """
        return _drawn(forms.figures(self.form, self.fitted, self.level), kind)

    def report(self, directory: str | Path, command: str = _COMMAND) -> Path:
        """Writes report.html with figures into a folder; the page's path."""
        page_content = forms.report(self.form, self.fitted, self.level, self.table.cautions)
        folder = Path(directory).expanduser()
        return tables.write(self.table, page_content, self.fitted, folder, self.name, command)

    def __str__(self) -> str:
        lines, cautions = _read(self.table, self.name), [*self.table.cautions]
        if isinstance(self.fit, Refusal):
            lines += _grouped(f"{self.form.formula}: refused", [self.fit])
        else:
            lines += forms.lines(self.fit)
            cautions += self.fit.cautions
        return "\n".join(lines + _grouped("caution", cautions))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        del cycle
        printer.text(str(self))


def _drawn(all_figures: Sequence[page.Figure], kind: str) -> Figure:
    by_name = {figure.name: figure for figure in all_figures}
    if kind not in by_name:
        raise UserError(f"kind must be one of {', '.join(by_name)}, not {kind!r}")
    with style.applied():
        return by_name[kind].draw()


def _unanswered(table: str, refusal: Refusal) -> str:
    return f"{table}: no law could be fitted: {refusal.where}: {refusal.message}"


def _read(table: Table, name: str) -> list[str]:
    return [f"{table.rows} rows of {name}", *(f"  {line}" for line in table.described())]


def _grouped(label: str, notes: Sequence[Refusal | Caution]) -> list[str]:
    """One line for each kind of refusal or caution: the first one, and how many more there are."""
    lines = []
    for kind in dict.fromkeys(note.kind for note in notes):
        first, *others = [note for note in notes if note.kind == kind]
        more = f" (and {len(others)} more)" if others else ""
        lines.append(f"{label}, {kind}: {formatting.placed(first.where, first.message)}{more}")
    return lines


@overload
def fit(
    table: Source,
    law: Literal["isoflop"] = ...,
    *,
    columns: Mapping[str, str] | None = ...,
    rows: Mapping[str, str] | None = ...,
    held_out_budget: float | None = ...,
    predictor: Predictor = ...,
    level: float = ...,
    resamples: int = ...,
    seed: int = ...,
) -> Law: ...
@overload
def fit(
    table: Source,
    law: str,
    *,
    columns: Mapping[str, str] | None = ...,
    rows: Mapping[str, str] | None = ...,
    level: float = ...,
    resamples: int = ...,
    seed: int = ...,
) -> FormLaw: ...
def fit(
    table,
    law=ISOFLOP,
    *,
    columns=None,
    rows=None,
    held_out_budget=None,
    predictor="surface",
    level=0.9,
    resamples=1000,
    seed=0,
):
    """The laws of a table: a surface L(N, D), and valleys where runs share budgets of compute; or
    the `law` of another form, a file of lm_lab/scaling/forms (`lm-lab fit --help` lists them).

    `table` is a file (CSV, TSV, JSON lines, Parquet), a sweep's directory, rows, columns by name,
    or a data frame. Its columns are known by their usual names ("N", "Model Size (B)", "val_loss"),
    or by `columns`: standard name to column, or "column:unit", as in {"params": "size:billions"}
    (lm_lab.scaling.columns.MEANINGS has the standard names). `rows` keeps those with these values.
    Settings that differ within a size and budget are tuned over: the best is taken, and named.
    Intervals hold `level`, of so many `resamples`. No fit sees `held_out_budget` or a larger one.

    Poor data make refusals and cautions in the law; what cannot be read is a UserError.

    >>> sizes, tokens = [1e6, 4e6, 16e6] * 3, [2e7] * 3 + [1e8] * 3 + [5e8] * 3
    >>> losses = [1.7 + 400 / n**0.34 + 410 / d**0.28 for n, d in zip(sizes, tokens)]
    >>> law = lm_lab.fit({"params": sizes, "tokens": tokens, "loss": losses}, resamples=50)
    >>> round(law.surface.alpha.value, 2), round(law.loss(1e9, 2e10), 2)
    (0.34, 2.58)
    >>> law.figure("frontier").axes[0].get_xlabel()
    'compute $C$ (FLOPs)'
    """
    if resamples < FEWEST:
        raise UserError(f"resamples must be at least {FEWEST}, not {resamples}")
    spread = {"level": level, "draws": resamples, "seed": seed}
    values = {"held_out_budget": held_out_budget, "predictor": predictor, **spread}
    settings = build(Settings, values, "fit")
    source, where, loss_unit = _columns_of(table)
    known = {"loss": f"loss:nats/{loss_unit}"} if loss_unit else {}
    columns, is_sweep = {**known, **(columns or {})}, loss_unit is not None
    if law != ISOFLOP:
        if held_out_budget is not None:
            raise UserError(f"held_out_budget is read with law={ISOFLOP!r} alone; leave it out")
        form = read_form(law)
        reduced = _table_of(form, source, columns, rows, where, counted=is_sweep)
        found = form.fit(reduced, level, resamples, seed)
        return FormLaw(reduced, form, found, Path(where).name, level)
    read = make_table(source, columns, rows=rows, where=where, counted=is_sweep)
    results = analyse(tables.rows_of(read), settings)
    cautions = (*read.cautions, *results.analysis.cautions)
    analysis = replace(results.analysis, cautions=cautions)
    return Law(read, replace(results, analysis=analysis), Path(where).name)


def _table_of(
    form: Form,
    source: Columns,
    columns: Mapping[str, str],
    rows: Mapping[str, str] | None,
    where: str,
    *,
    counted: bool,
) -> Table:
    """The table that a law of another form is fitted to; a law of losses or accuracies is given the
    best of each condition, one of optima or envelopes every row.
    """
    read = make_table(source, columns, needed=form.needs, rows=rows, where=where, counted=counted)
    if form.target not in ("loss", "accuracy"):
        return read
    inputs = [name for name in (*form.needs, *form.optional) if name not in (form.target, "runs")]
    return best_of_each(read, [name for name in inputs if name in read], form.target, where)


def read_form(name: str) -> Form:
    """A law of another form, by name. Raises UserError for one that there is not."""
    names = registry.names(FORMS)
    if name not in names and "." not in name:
        raise UserError(f"law: no law {name!r}; {suggest(name, [ISOFLOP, *names])}")
    return registry.load_value(FORMS, "FORM", Form, name, "law")


def _columns_of(table: Source) -> tuple[Columns, str, str | None]:
    """(the columns of a table, its name, of a sweep's directory what a loss is of: token or byte):
    of such a directory, or of what `read_columns` takes.
    """
    if isinstance(table, str | Path):
        directory = Path(table).expanduser()
        if (directory / "sweep.json").is_file():
            sweep = read_sweep(directory)
            rows = sweeps.rows_of(sweep.runs, directory)
            columns = {key: [row.get(key) for row in rows] for key in rows[0]}
            return columns, str(directory), sweep.loss_unit
    return *read_columns(table), None
