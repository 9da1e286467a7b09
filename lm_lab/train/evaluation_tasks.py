"""The tasks of a run's config, and the model of the run as functions of texts, which tasks call."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lm_lab import registry
from lm_lab.contracts import Scores, TextModel
from lm_lab.engine.average import AVERAGE
from lm_lab.evaluation.text_model import TextModels, text_models
from lm_lab.evaluation.text_run import TextRun, require
from lm_lab.schema import Chosen
from lm_lab.train import carried
from lm_lab.train.eval_sets import with_ending
from lm_lab.train.task import Task
from lm_lab.types import PyTree, UserError

WHERE = "config.evaluation.tasks"
# labels that records already use for held-out text
RESERVED = ("heldout", "heldout_whole", "heldout_average", "heldout_whole_average", "test")


Measure = Callable[[TextModel], Scores]


class Prepared(NamedTuple):
    """A task whose files are read."""

    where: str  # its key in the config, for errors
    measure: Measure

    def scores(self, model: TextModel) -> Scores:
        """The task's scores of a model. Raises UserError, which names the key."""
        try:
            return self.measure(model)
        except UserError as error:
            raise UserError(f"{self.where}: {error}") from None


class EvaluationTasks(NamedTuple):
    """Tasks whose files are read, and the run whose models they evaluate."""

    text_model: TextModels
    by_label: Mapping[str, Prepared]

    def scores(self, params: PyTree) -> dict[str, Scores]:
        """The scores of each task for a model with these parameters."""
        model = self.text_model(params)
        return {label: task.scores(model) for label, task in self.by_label.items()}


def text_run(task: Task, directory: Path | None = None) -> TextRun:
    """What tasks need of a bound run. `directory` is that of a trained run, whose evaluations show
    their progress; None: it is being trained. A model, or that which it was initialised from, may
    have end-of-text ids of its own.
    """
    experiment, kind = task.experiment, task.objective_kind
    initial = experiment.train.initial
    place = directory or (None if initial is None else Path(initial))
    ends = [] if place is None else carried.ends(place)
    length = experiment.data.length
    context = experiment.data.context_length or length
    return TextRun(
        model=task.model,
        kind=kind,
        settings=experiment.objective.settings,
        objective=task.objective,
        vocabulary=task.vocabulary,
        codec=task.tokenizer,
        scope=task.family.scope_of(experiment.model.settings),
        needs_context=task.family.needs_context,
        compute=experiment.precision.compute,
        window=task.window[0],
        length=length,
        context_length=context,
        rows=experiment.train.batch_size,
        max_length=task.family.max_length(experiment.model.settings),
        stops=tuple(dict.fromkeys([task.tokenizer.end_of_document, *ends])),
        as_source=partial(_as_source, task),
        stride=experiment.evaluation.stride,
        carry=task.carry,
        loss_chunk=experiment.train.loss_chunk,
        shows=directory is not None,
    )


def open_tasks(task: Task, run: TextRun) -> EvaluationTasks:
    """The tasks of a run's config. Raises UserError, before training, for files that cannot be
    read, tasks that the model cannot do, and labels that are taken.
    """
    for label, _ in task.experiment.evaluation.tasks:
        if label in (*RESERVED, *task.eval_objectives) or label.endswith("_selection"):
            raise UserError(f"{WHERE}.{label}: eval/{label} is of held-out text; rename the task")
    chosen = dict(task.experiment.evaluation.tasks)
    for label in chosen if task.experiment.train.average_decay is not None else ():
        if (averaged := with_ending(label, f"_{AVERAGE}")) in chosen:
            raise UserError(
                f"{WHERE}.{averaged}: eval/{averaged} is task {label} with the moving average of "
                "the parameters; rename one"
            )
    return EvaluationTasks(text_models(run), prepare(run, chosen, WHERE))


def prepare(run: TextRun, chosen: Mapping[str, Chosen], where: str) -> dict[str, Prepared]:
    """Tasks by label, their files read. Raises UserError; its message begins with `where` and the
    label.
    """
    prepared = {}
    for label, (name, settings) in chosen.items():
        key = f"{where}.{label}"
        task = registry.load("evaluation.tasks", name, f"{key}.name")
        require(run, task.needs, key)
        try:
            prepared[label] = Prepared(key, task.prepare(settings))
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
    return prepared


def _as_source(task: Task, text: str) -> str:
    corpus = task.text.corpus
    return corpus.source.as_source(corpus.settings, text)
