"""Evaluates runs by tasks and by whole texts, one run or the difference of two."""

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab import registry
from lm_lab.contracts import Scores, TextModel
from lm_lab.data.store import heldout_text
from lm_lab.evaluation import bootstrap
from lm_lab.evaluation.text_model import text_models
from lm_lab.evaluation.text_run import TextRun
from lm_lab.runs import commits, reading
from lm_lab.schema import Chosen, build, suggest
from lm_lab.train import trained_on
from lm_lab.train.evaluation_tasks import prepare, text_run
from lm_lab.train.experiment import Evaluation
from lm_lab.train.heldout import heldout_likelihoods
from lm_lab.train.task import Task
from lm_lab.types import PyTree, UserError


class RunScorer:
    """A run to evaluate; its model is compiled once for all tasks."""

    def __init__(self, directory: Path, task: Task, params: PyTree) -> None:
        """Computes nothing yet."""
        self.directory, self.task, self.params = directory, task, params
        self.run: TextRun = text_run(task, directory)
        self.model: TextModel = text_models(self.run)(params)

    def task_scores(self, chosen: Mapping[str, Chosen], where: str) -> dict[str, Scores]:
        """The scores of tasks, by label. Raises UserError for wrong tasks before any of them
        runs.
        """
        prepared = prepare(self.run, chosen, where)
        return {label: task.scores(self.model) for label, task in prepared.items()}

    def heldout_scores(self) -> dict[str, Scores]:
        """The likelihood of all held-out text, by name; for a mixture also of each source.
        Raises UserError where it is other text than the run was trained on.
        """
        newest = commits.newest_intact(self.directory / "checkpoints")
        extra = commits.read_record(newest, verified=False).extra
        trained_on.check_text(self.directory, self.task.text, extra)
        programs = heldout_likelihoods(self.task, self.run)
        return {name: program(self.params) for name, program in programs.items()}


def check_same_text(one: RunScorer, other: RunScorer) -> None:
    """Raises UserError where two runs hold out unequal texts, which cannot be drawn in pairs."""
    texts, others = (
        {label: heldout_text(sides.folder) for label, sides in scorer.task.dataset.sources.items()}
        for scorer in (one, other)
    )
    if texts != others:
        raise UserError(
            f"--whole: {one.directory} and {other.directory} hold out other texts, so no "
            "difference can be taken; compare them by --text=FILE or --tasks, or take each alone"
        )


def chosen_tasks(tasks: Mapping[str, Any], where: str) -> dict[str, Chosen]:
    """Tasks with their settings from plain values: {"blimp": {"name": "minimal_pairs", ...}}.
    Raises UserError.
    """
    return dict(build(Evaluation, {"tasks": dict(tasks)}, where).tasks)


def named_tasks(words: Sequence[str], own: Mapping[str, Chosen]) -> dict[str, Chosen]:
    """Tasks as a command line names them: a label of the run's config, NAME=FILE of a task with its
    data and defaults (a second file of it is NAME_2), or a JSON file of tasks by label, as a config
    has them. Raises UserError.
    """
    tasks: dict[str, Chosen] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if equals:
            registry.load("evaluation.tasks", name, "--tasks")
            label = _free(name.rpartition(".")[2], tasks)
            tasks |= chosen_tasks({label: {"name": name, "path": path}}, "--tasks")
        elif word in own:
            tasks[word] = own[word]
        elif word.endswith(".json"):
            tasks |= chosen_tasks(_read(Path(word).expanduser()), f"--tasks={word}")
        else:
            raise UserError(
                f"--tasks={word}: the run's config has no such task; give NAME=FILE (of "
                f"{', '.join(registry.names('evaluation.tasks'))}), or a JSON file of tasks; "
                f"{suggest(word, list(own))}"
            )
    return tasks


def _free(label: str, taken: Collection[str]) -> str:
    """The label, or label_2, label_3, ... where it is taken."""
    numbered = (f"{label}_{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([label], numbered) if each not in taken)


def lines(label: str, scores: Scores) -> list[str]:
    """A line for each metric, with its interval over documents."""
    count = bootstrap.documents(scores.statistics)
    return [
        f"{label} {metric} {shown(estimate)} of {count:,} {scores.of}"
        for metric, estimate in bootstrap.intervals(scores).items()
    ]


def differences(label: str, one: Scores, other: Scores) -> list[str]:
    """A line for each metric: the first minus the second, drawn in pairs; none of nats a token
    where the two have other tokens. Raises UserError.
    """
    try:
        estimates = bootstrap.differences(one, other)
    except UserError as error:
        raise UserError(f"{label}: {error}") from None
    counted = one.statistics.keys() & other.statistics.keys() & {"tokens", "weight"}
    same = all(np.array_equal(one.statistics[key], other.statistics[key]) for key in counted)
    listed = [
        f"{metric} difference {shown(estimate)}"
        for metric, estimate in estimates.items()
        if same or not metric.endswith("nll")
    ]
    return [f"{label} {line}" for line in listed or ["has no metric of both, and no difference"]]


def shown(found: bootstrap.Estimate) -> str:
    """A value with its 95 % interval, where there is one."""
    interval = f" [{found.low:.4f}, {found.high:.4f}]" if found.low == found.low else ""
    return f"{found.value:.4f}{interval}"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        tasks = json.loads(reading.read_bytes(path))
    except (OSError, ValueError) as error:
        raise UserError(f"--tasks={path}: cannot read it ({error}); give a JSON file") from None
    if not isinstance(tasks, dict):
        raise UserError(f"--tasks={path}: is no JSON object of tasks by label; mend it")
    return tasks
