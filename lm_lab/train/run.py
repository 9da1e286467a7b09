"""Runs to be trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_lab.data.text import Texts
from lm_lab.train.experiment import Experiment
from lm_lab.train.program import Accumulation
from lm_lab.train.task import Task, bind


class Run(NamedTuple):
    """A run to be trained, and where."""

    experiment: Experiment
    resolved: Mapping[str, Any]  # the config as plain values
    directory: Path


class BoundRun(NamedTuple):
    """A run whose task is bound."""

    task: Task
    resolved: Mapping[str, Any]  # the config as plain values, complete
    directory: Path

    @property
    def experiment(self) -> Experiment:
        """The settings, complete."""
        return self.task.experiment


class Place(NamedTuple):
    """A step at which a run can resume, and how it was trained until then."""

    step: int
    population: str = ""  # the name of the runs that it was trained with (population.name_of)
    accumulation: Accumulation | None = None  # where microbatches were chosen


def bind_runs(runs: Sequence[Run]) -> list[BoundRun]:
    """The runs of a launch with their tasks; equal `data` sections are opened once. Raises
    UserError.
    """
    texts = Texts()
    tasks = [bind(run.experiment, run.resolved, texts) for run in runs]
    return [BoundRun(task, task.values, run.directory) for task, run in zip(tasks, runs)]
