"""Reads a sweep directory: the study, its rows, and each run's records. Starts no run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_lab.runs.reading import Unreadable
from lm_lab.runs.records import read_metrics, read_result
from lm_lab.runs.sweep import Row, SweepRecord, read_sweep, read_table, run_directory
from lm_lab.types import UserError
from lm_lab.values import table_value


@dataclass(frozen=True)
class Sweep:
    """The stored results of a sweep: its sweep.json, and the rows of its results.csv."""

    directory: Path
    study: SweepRecord
    rows: list[Row]

    @property
    def finished(self) -> list[Row]:
        """Rows of complete runs."""
        return [row for row in self.rows if row.get("status") == "complete"]

    @property
    def measured(self) -> list[Row]:
        """Rows of complete runs that have a held-out loss, a size and a compute."""
        return [
            row
            for row in self.finished
            if all(row.get(key) is not None for key in ("loss", "params", "flops"))
        ]

    @property
    def unfinished(self) -> list[Row]:
        """Rows of runs that diverged, failed or were never run."""
        return [row for row in self.rows if row.get("status") != "complete"]

    @property
    def unit(self) -> str:
        """What a loss is in nats of, a "byte" or a "token"."""
        return self.study.loss_unit

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """result.json of each run that has one, by run name. Raises UserError."""
        results = {name: _result(self._directory_of(name)) for name in map(_name, self.rows)}
        return {name: result for name, result in results.items() if result}

    @cached_property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """metrics.jsonl of each finished run that has one, by run name.

        A damaged line is left out, with a warning.
        """
        curves = {
            name: read_metrics(self._directory_of(name)) for name in map(_name, self.finished)
        }
        return {name: lines for name, lines in curves.items() if lines}

    @cached_property
    def overrides(self) -> list[str]:
        """The config keys that the sweep varied, in order of first appearance."""
        return list(dict.fromkeys(key for run in self.study.runs for key in run.overrides))

    def _directory_of(self, name: str) -> Path:
        return run_directory(self.directory, name)


def sharing(overrides: Mapping[str, Any], rows: Sequence[Row]) -> list[Row]:
    """The rows of the runs that have these overrides: those of an arm of an analysis."""
    return [
        row
        for row in rows
        if all(row.get(key) == table_value(value) for key, value in overrides.items())
    ]


def budget(row: Row) -> float:
    """A run's compute budget; without one, its own FLOPs."""
    return float(row.get("budget_flops") or row.get("flops") or 0.0)


def read(directory: Path) -> Sweep:
    """Reads a sweep directory. Raises UserError if it holds no results."""
    study = read_sweep(directory)
    rows = read_table(directory, {key for run in study.runs for key in run.overrides})
    places = {run.name: place for place, run in enumerate(study.runs)}
    if sorted(map(_name, rows)) != sorted(places):
        raise UserError(
            f"{directory / 'results.csv'}: not the runs of sweep.json; launch lm-lab sweep again"
        )
    # a launch of the study in another order writes sweep.json first
    sweep = Sweep(directory, study, sorted(rows, key=lambda row: places[_name(row)]))
    if not sweep.finished:
        raise UserError(
            f"{directory}: none of the {len(rows)} runs is complete; finish them with lm-lab sweep"
        )
    return sweep


def _name(row: Row) -> str:
    return str(row["name"])


def _result(directory: Path) -> dict[str, Any]:
    try:
        return read_result(directory) or {}
    except Unreadable as error:
        raise UserError(
            f"{error.path}: {error.why}; launch lm-lab sweep again to write it anew"
        ) from None
