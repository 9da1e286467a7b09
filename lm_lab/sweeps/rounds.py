"""Launches a study that searches: the sweep grows by rounds of proposed points until the search
has its count. The rounds that sweep.json records are taken as they are, so that a launch that was
killed goes on where it was.
"""

import dataclasses
import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lm_lab.runs.durable import explained, replace
from lm_lab.runs.history import METRICS
from lm_lab.runs.records import PRUNE
from lm_lab.runs.status import FINISHED, result_of
from lm_lab.runs.sweep import Planned, Row, read_sweep, run_directory
from lm_lab.sweeps.algebra import Point
from lm_lab.sweeps.results import collect
from lm_lab.sweeps.search import Search, Trial
from lm_lab.sweeps.searchers import Chosen
from lm_lab.sweeps.study import Study

LOOK_SECONDS = 2.0  # between two looks at the evaluations of runs under way
METRIC_OF = {
    "loss": "eval/heldout/nll",
    "bits_per_byte": "eval/heldout/bits_per_byte",
    "selection_loss": "eval/heldout_selection/nll",
}
Rounds = list[list[Point]]


class Begin(Protocol):
    """Launches what is missing of a study whose sweep ends with the points of the rounds; returns
    the rows of all runs and the names of those that it started.
    """

    def __call__(
        self, study: Study, rounds: Rounds, pruning: "Pruning | None"
    ) -> tuple[list[Row], list[str]]: ...


def launch_rounds(
    study: Study, search: Search, directory: Path, begin: Begin
) -> tuple[list[Row], list[str]]:
    """Launches one round after the other; the rows of all runs, and the names of those that were
    started. Stops where a run has not ended. Raises UserError.
    """
    searcher = Chosen(search)
    rounds, started = recorded(directory) or first(search), []
    while True:
        pruning = Pruning(directory, search, searcher, rounds)
        rows, names = begin(extended(study, rounds), rounds, pruning)
        started += names
        if any(row["status"] in ("running", "missing") for row in rows):
            return rows, started
        left = search.count - sum(map(len, rounds))
        if left <= 0:
            return rows, started
        trials = trials_of(directory, search, searcher, rounds)
        rounds = [*rounds, searcher.propose(trials, min(left, search.at_once))]


def recorded(directory: Path) -> Rounds:
    """The rounds that the directory's sweep.json has; none where there is no sweep."""
    if not (directory / "sweep.json").exists():
        return []
    return read_sweep(directory).proposed


def first(search: Search) -> Rounds:
    """The first round alone. Raises UserError."""
    return [Chosen(search).propose([], min(search.count, search.at_once))]


def extended(study: Study, rounds: Rounds) -> Study:
    """The study with the points of the rounds at the end of its sweep."""
    return dataclasses.replace(
        study, sweep=[*study.sweep, *(point for points in rounds for point in points)]
    )


def trials_of(directory: Path, search: Search, searcher: Chosen, rounds: Rounds) -> list[Trial]:
    """The trials of the rounds. Whether and where one was given up follows from its values and the
    rounds before, not from when the launch noticed, so that it is the same again.
    """
    runs = _runs_by_point(directory)
    rows = {row["name"]: row for row in collect(directory)}
    trials: list[Trial] = []
    for points in rounds:
        judge = searcher.judge(trials)
        found = []
        for point in points:
            name = runs[_text(point)].name
            values = values_of(run_directory(directory, name), search.metric)
            stop = judge(values)
            shown = [each for each in values if stop is None or each[0] <= stop]
            found.append(Trial(point, _value(rows[name], search.metric), shown, stop is not None))
        trials += found
    return trials


def _runs_by_point(directory: Path) -> dict[str, Planned]:
    return {_text(run.overrides): run for run in read_sweep(directory).runs}


def _text(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def _value(row: Row, metric: str) -> float | None:
    value = row.get(metric) if row["status"] in ("complete", "pruned") else None
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def values_of(directory: Path, metric: str) -> list[tuple[int, float]]:
    """(step, value) of the evaluations of a run that metrics.jsonl has."""
    name, values = METRIC_OF.get(metric, metric), []
    try:
        lines = (directory / METRICS).read_bytes().split(b"\n")
    except OSError:
        return []
    for line in lines:
        if f'"{name}"'.encode() in line:
            try:
                record = json.loads(line)
                values.append((int(record["step"]), float(record[name])))
            except (ValueError, TypeError, KeyError):
                continue  # cut short, or not finite
    return values


class Pruning:
    """While its with-block lasts, asks runs of the last round to end that the searcher gives up. A
    run that is asked ends after its next evaluation (train/writer.py).
    """

    def __init__(self, directory: Path, search: Search, searcher: Chosen, rounds: Rounds) -> None:
        self._directory, self._search, self._searcher = directory, search, searcher
        self._rounds = rounds
        self._stop = threading.Event()

    def __enter__(self) -> "Pruning":
        before = self._rounds[:-1]
        trials = trials_of(self._directory, self._search, self._searcher, before)
        self._judge = self._searcher.judge(trials)
        runs = _runs_by_point(self._directory)
        self._folders = [
            run_directory(self._directory, runs[_text(point)].name) for point in self._rounds[-1]
        ]
        threading.Thread(target=self._watch, name="pruning", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _watch(self) -> None:
        asked: set[Path] = set()
        while not self._stop.wait(LOOK_SECONDS):
            for folder in self._folders:
                if folder not in asked and self._look_at(folder):
                    asked.add(folder)

    def _look_at(self, folder: Path) -> bool:
        """Whether nothing is left to be asked of a run."""
        if result_of(folder).get("status") in FINISHED:
            return True
        values = values_of(folder, self._search.metric)
        step = self._judge(values) if values else None
        if step is None:
            return False
        reason = f"given up at step {step}, where {self._search.metric} was {dict(values)[step]:g}"
        with explained(folder / PRUNE, "write"):
            replace(folder / PRUNE, f"{reason}\n".encode())
        return True
