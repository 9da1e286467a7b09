"""What a run reads, opened and checked before anything is compiled; `train` and `plan` refuse the
same here.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data import loader
from lm_lab.data.mixture import Mixed
from lm_lab.engine.state import FROZEN
from lm_lab.train import initial
from lm_lab.train.eval_sets import EvalSet, WholeTest, with_ending
from lm_lab.train.evaluation_tasks import EvaluationTasks, open_tasks, text_run
from lm_lab.train.heldout import HeldoutLikelihood, heldout_likelihoods
from lm_lab.train.metrics import Prepared
from lm_lab.train.program import Program, hyper_of
from lm_lab.train.task import Task
from lm_lab.types import PyTree

MOST_EPOCHS = 4  # of a text before repeats are worth clearly less than new text (2305.16264)


class Feed(NamedTuple):
    """Batches to train on and to be evaluated by, metrics, tasks, and parameters to start with."""

    dataset: loader.Dataset
    streams: dict[int, Mixed]  # by seed
    eval_sets: list[EvalSet]  # one a source
    test_sets: list[WholeTest]  # of the sources that have one
    metrics: dict[str, list[Prepared]]  # by the evaluation on whose text they are taken
    tasks: EvaluationTasks  # of config.evaluation
    # the likelihood of all held-out text by name, where the config asks for it
    whole_heldout: dict[str, HeldoutLikelihood]
    given: dict[str, np.ndarray]  # parameters by path; {} where all are drawn at random
    reference_flops: int  # of what the objective compares with, taken before training
    names: tuple[str, ...]  # the labels of the sources, or the name of a single one

    def epochs(self, steps: int) -> dict[str, float]:
        """How often the rows of each source are read in the first `steps` steps."""
        stream = next(iter(self.streams.values()))
        return dict(zip(self.names, stream.epochs(steps)))

    def warn_of_repeats(self, steps: int) -> None:
        """Says on stderr which streams a run of `steps` steps reads more than MOST_EPOCHS times."""
        sources = self.dataset.sources.values()
        for (name, epochs), sides in zip(self.epochs(steps).items(), sources):
            if sides.train.records is None and epochs > MOST_EPOCHS:
                print(
                    f"{sides.train.key} ({name}): {len(sides.train.tokens):,} tokens are read "
                    f"{epochs:.1f} times in {steps:,} steps; after {MOST_EPOCHS} times a text "
                    "teaches less than a new one (2305.16264)",
                    file=sys.stderr,
                    flush=True,
                )

    @property
    def has_tasks(self) -> bool:
        """Whether config.evaluation has tasks, or the whole held-out text, to evaluate by."""
        return bool(self.tasks.by_label or self.whole_heldout)


def open_feed(task: Task, program: Program, seeds: Iterable[int]) -> Feed:
    """Opens what runs of the task with these seeds read.

    Raises UserError for data that cannot be read, learnt or cut into batches, for metrics that
    cannot be taken, and for parameters in config.train.initial that do not fit the program.
    """
    dataset, experiment = task.dataset, task.experiment
    streams = {seed: task.training(seed) for seed in seeds}
    initial.check_frozen(program.state.slots[FROZEN], task.initial)
    jax.eval_shape(program.init, hyper_of(experiment), task.initial)
    eval_sets, test_sets = task.eval_sets(), task.test_sets()
    run = text_run(task)
    tasks = open_tasks(task, run)
    whole = heldout_likelihoods(task, run) if experiment.evaluation.whole else {}
    task.text.say_splits()
    names = tuple(label or member.source.name for label, member in experiment.data.members.items())
    return Feed(
        dataset,
        streams,
        eval_sets,
        test_sets,
        task.metrics,
        tasks,
        whole,
        task.initial,
        task.reference_flops,
        names,
    )


def task_scores(
    feed: Feed, evaluated: Mapping[str, PyTree], at_end: bool
) -> dict[str, dict[str, float]]:
    """The scores of the tasks, by label, for models with parameters by the ending of the label
    ("_average"); at the end of a run also the likelihood of the whole held-out text.
    """
    scores = {}
    for ending, params in evaluated.items():
        of_params = feed.tasks.scores(params)
        if at_end:
            of_params |= {name: score(params) for name, score in feed.whole_heldout.items()}
        scores |= {with_ending(label, ending): made.values for label, made in of_params.items()}
    return scores
