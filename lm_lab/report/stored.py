"""Reads a sweep directory: the study, its rows, and each run's records. Starts no run."""

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_lab.runs import durable
from lm_lab.runs.files import Unreadable
from lm_lab.runs.records import read_metrics, read_result
from lm_lab.schema import chosen_name
from lm_lab.train import versions
from lm_lab.train.identity import listed_runs
from lm_lab.types import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """The stored results of a sweep.

    `study` is sweep.json; `rows` are those of results.csv (numbers as numbers, empty cells as
    None).
    """

    directory: Path
    study: dict[str, Any]
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

    @cached_property
    def unit(self) -> str:
        """The unit of a loss: "byte" if every run's tokenizer gives bytes, else "token"."""
        sections = [run.get("config", {}).get("data", {}) for run in self.study.get("runs", [])]
        return (
            "byte"
            if sections
            and all(chosen_name(data.get("tokenizer"), "name", None) == "byte" for data in sections)
            else "token"
        )

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """result.json of each run that has one, by run name."""
        paths = {
            str(row["name"]): self.directory / "runs" / str(row["name"]) / "result.json"
            for row in self.rows
        }
        return {name: _result(path) for name, path in paths.items() if path.is_file()}

    @cached_property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """metrics.jsonl of each finished run that has one, by run name.

        A damaged line is left out, with a warning.
        """
        paths = {
            str(row["name"]): self.directory / "runs" / str(row["name"]) / "metrics.jsonl"
            for row in self.finished
        }
        return {name: read_metrics(path.parent) for name, path in paths.items() if path.is_file()}

    @cached_property
    def overrides(self) -> list[str]:
        """The config keys that the sweep varied, in order of first appearance."""
        return list(
            dict.fromkeys(
                key for run in self.study.get("runs", []) for key in run.get("overrides", {})
            )
        )


def budget(row: Row) -> float:
    """A run's compute budget; without one, its own FLOPs."""
    return float(row.get("budget_flops") or row.get("flops") or 0.0)


def read(directory: Path) -> Sweep:
    """Reads a sweep directory. Raises UserError if it holds no results."""
    for name, remedy in (
        ("sweep.json", "give the --workdir of a sweep"),
        ("results.csv", "finish it with lm-lab sweep"),
    ):
        if not (directory / name).is_file():
            raise UserError(f"{directory}: no {name} here; {remedy}")
    study = _load(directory / "sweep.json")
    rows = _table(directory / "results.csv")
    runs = listed_runs(study, directory / "sweep.json") if study.get("runs") else []
    if runs and [row["name"] for row in rows] != [run["name"] for run in runs]:
        raise UserError(
            f"{directory / 'results.csv'}: not the runs of sweep.json; launch lm-lab sweep again"
        )
    study = versions.read_sweep(study, directory / "sweep.json")
    rows = [{versions.new_key(key): value for key, value in row.items()} for row in rows]
    sweep = Sweep(directory, study, rows)
    if not sweep.finished:
        raise UserError(
            f"{directory}: none of the {len(rows)} runs is complete; finish them with lm-lab sweep"
        )
    return sweep


def _table(path: Path) -> list[Row]:
    """The rows of a CSV file. Raises UserError if it is cut short or no table."""
    try:
        lines = path.read_text(encoding="utf-8")
        rows = [
            {key: _value(key, cell) for key, cell in row.items()}
            for row in csv.DictReader(lines.splitlines(True))
        ]
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: not a table ({error}); launch lm-lab sweep again to write it anew"
        ) from None
    if not all(row.get("name") for row in rows):
        raise UserError(f"{path}: a row has no name; launch lm-lab sweep again to write it anew")
    if not lines.endswith("\n"):
        raise UserError(f"{path}: cut short; launch lm-lab sweep again to write it anew")
    return rows


def _value(key: str, cell: Any) -> Any:
    """The value of a CSV cell. Names stay strings: 12 hex digits may look like a number."""
    if key in ("name", "status", "message") or not isinstance(cell, str):
        return cell
    if cell in ("", "None"):
        return None
    if cell in ("True", "False"):
        return cell == "True"
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _load(path: Path) -> Any:
    try:
        content = json.loads(durable.read_bytes(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not JSON ({error}); delete it, and launch lm-lab sweep again"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold an object; delete it, and launch lm-lab sweep again")
    return content


def _result(path: Path) -> dict[str, Any]:
    try:
        return read_result(path.parent) or {}
    except Unreadable as error:
        raise UserError(
            f"{path}: {error.why}; launch lm-lab sweep again to write it anew"
        ) from None
