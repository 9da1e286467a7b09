"""Counts the runs of a launch by their directories: right also for a run whose unit is still busy
with other runs.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lm_lab.runs.status import newest_training, result_of, run_status
from lm_lab.runs.sweep import Planned, run_directory
from lm_lab.sweeps.groups import cost, paid
from lm_lab.sweeps.progress import Counts
from lm_lab.sweeps.remaining import Clock, Part


class Tally:
    """The runs of the phases of a launch, and how they stand at each call. What has ended is read
    once.
    """

    def __init__(
        self, directory: Path, phases: Sequence[Sequence[Sequence[Planned]]], clock: Clock
    ) -> None:
        self._directory, self._phases, self._clock = directory, phases, clock
        runs = [run for units in phases for unit in units for run in unit]
        self._runs = {run.name: run for run in runs}
        self._costs = {run.name: cost(run.config) for run in runs}
        self._begun = {run.name: self._paid(run) for run in runs}
        self._ended: dict[str, tuple[str, Part]] = {}  # by name: status, and what it took

    def __call__(self) -> Counts:
        """Counts, with the losses of the runs that a process has locked, and the time left."""
        parts, losses = {name: part for name, (_, part) in self._ended.items()}, []
        for name, run in self._runs.items():
            if name in self._ended:
                continue
            parts[name], loss = self._look_at(run)
            losses += [] if loss is None else [loss]
        left = self._clock.left(
            [[[parts[run.name] for run in unit] for unit in units] for units in self._phases]
        )
        states = Counter(state for state, _ in self._ended.values())
        failed, waiting = states["failed"], len(self._runs) - len(self._ended)
        return Counts(len(self._ended) - failed, failed, waiting, left, losses)

    def _look_at(self, run: Planned) -> tuple[Part, float | None]:
        """A run that had not ended; its loss where a process has it locked."""
        own, begun = self._costs[run.name], self._begun[run.name]
        directory = run_directory(self._directory, run.name)
        if not directory.exists():
            return Part(own, begun, begun, None), None
        result = result_of(directory)
        if (state := result.get("status")) is None:
            line = newest_training(directory) if run_status(directory) == "running" else None
            return Part(own, begun, self._paid(run), None), line["train/nll"] if line else None
        part = Part(own, 1.0, 1.0, None)
        if state == "complete":
            part = Part(own, begun, 1.0, None if begun else result["seconds"])
        self._ended[run.name] = state, part
        return part, None

    def _paid(self, run: Planned) -> float:
        """The share of its cost that an unfinished run has computed so far."""
        line = newest_training(run_directory(self._directory, run.name))
        return 0.0 if line is None else paid(run.config, line["tokens"], line["flops"])
