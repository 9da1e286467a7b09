"""The report of a law fitted to a table from anywhere: as that of a study, but without runs."""

import dataclasses
import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_lab.report import page, stored
from lm_lab.report.analyses import isoflop
from lm_lab.report.analyses.isoflop.results import Results
from lm_lab.report.analyses.isoflop.source import Source
from lm_lab.runs.durable import atomic_write
from lm_lab.runs.sweep import MEASURED, Row, SweepRecord, write_table
from lm_lab.scaling.columns import MEANINGS
from lm_lab.scaling.table import Table
from lm_lab.types import UserError

_KEYS = {"rate": "optimizer.peak_rate", "budget": "budget_flops"}  # as a sweep's results call them
_OF_A_RUN = ("params", "tokens", "flops", "loss", "loss_sd", "runs", "seed", *_KEYS, "accuracy")
_CONDITIONS = ("batch", "unique_tokens", "active_params", "experts", "decayed")


@dataclasses.dataclass(frozen=True)
class Study(stored.Sweep):
    """A table in the place of a sweep: rows, and no directories of runs."""

    table: Table

    @property
    def unit(self) -> str:
        """What a loss is in nats of, a "byte" or a "token"."""
        return self.table.unit

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """{}: a table has no runs."""
        return {}

    @cached_property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """{}: a table has no runs."""
        return {}


def rows_of(table: Table) -> list[Row]:
    """A table's rows in the form of a sweep's results: settings, then measurements."""
    settings = {name: values for name, values in table.settings.items() if name not in MEASURED}
    settings |= {name: table[name].tolist() for name in _CONDITIONS if name in table}
    measured = {_KEYS.get(name, name): table[name].tolist() for name in _OF_A_RUN if name in table}
    losses = measured.get("loss", [0.0] * table.rows)
    return [
        {
            "name": name,
            "status": "diverged" if math.isinf(losses[i]) else "complete",
            **{key: values[i] for key, values in settings.items()},
            **{key: _value(values[i]) for key, values in measured.items()},
        }
        for i, name in enumerate(table.names)
    ]


def _value(number: float) -> float | None:
    return number if math.isfinite(number) else None


def source_of(table: Table) -> Source:
    """The source of a table's points, for figures."""
    counted = "; ".join(
        f"{letter}: {table.origins[name]}"
        for letter, name in (("N", "params"), ("D", "tokens"), ("C", "flops"))
    )
    rows = [row for row in rows_of(table) if row["loss"] is not None]
    metrics = table.metrics.items()
    finals = {
        run: {f"eval/{name}": float(values[i]) for name, values in metrics}
        for i, run in enumerate(table.names)
    }
    return Source(table.unit, f"{counted}.", rows, finals if metrics else {})


def isoflop_report(table: Table, results: Results, directory: Path) -> page.Report:
    """The report of the isoFLOP analysis of a table, as of a study."""
    record = SweepRecord(name="", runs=[], created="")
    study = Study(directory, record, rows_of(table), table)
    return isoflop.report(results, study, source_of(table))


def write(
    table: Table, made: page.Report, record: Any, directory: Path, name: str, command: str
) -> Path:
    """Writes report.html, figures/, analysis.json (the `record`, a dataclass) and results.csv (the
    table as it was read) into a directory; the path of the page. Raises UserError where the
    directory cannot be written, or holds a sweep.
    """
    if (directory / "sweep.json").exists():
        raise UserError(f"{directory}: holds a sweep, with its own report; name another folder")
    rows = rows_of(table)
    made = dataclasses.replace(made, sections=[*made.sections, *_sections(table, rows, command)])
    facts = [("rows", f"{len(rows):,}"), ("columns read", f"{len(table)}")]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        html = page.render(name, _QUESTION, facts, made, directory / "figures")
        write_table(directory, rows)
        analysis = json.dumps(dataclasses.asdict(record), indent=1, ensure_ascii=False)
        atomic_write(directory / "analysis.json", analysis + "\n")
        page.remove_stale(directory / "report.html", html)
        atomic_write(directory / "report.html", html)
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write the report ({error.strerror}); check its permissions and "
            "space"
        ) from None
    return directory / "report.html"


_QUESTION = "Which scaling law does this table follow, and how surely?"


def _sections(table: Table, rows: Sequence[Row], command: str) -> list[page.Section]:
    terms = page.Terms([(name, f"{MEANINGS[name]}: {table.origins[name]}") for name in table])
    text = (
        "The table's columns as they were read. Names, units and conventions are recognised by the "
        "columns' names, or were given."
    )
    origin: list[page.Block] = ["This made it:", page.Code(command)]
    return [
        page.Section("The table", [text, terms]),
        page.Section("Every row", [_every(rows)]),
        page.Section("How to make it again", origin),
    ]


def _every(rows: Sequence[Row]) -> page.Table:
    keys = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    cells = [[_cell(row[key]) for key in keys] for row in rows]
    caption = "Click a heading to sort. The same rows are in results.csv."
    return page.Table(keys, cells, caption, sortable=True)


def _cell(value: Any) -> page.Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value is None else str(value)
    return page.Number(f"{value:.6g}", value)
