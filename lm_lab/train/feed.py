"""What a run reads, opened and checked before anything is compiled; `train` and `plan` refuse the
same here.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data import loader
from lm_lab.data.records import RecordBatches
from lm_lab.engine.state import FROZEN
from lm_lab.train import initial
from lm_lab.train.asking import Questions, questions, text_run, values
from lm_lab.train.metrics import Prepared
from lm_lab.train.program import Program, hyper_of
from lm_lab.train.task import Task
from lm_lab.train.whole import Whole, of_heldout
from lm_lab.types import Examples, PyTree


class Feed(NamedTuple):
    """Batches to train on and to be judged by, metrics, tasks, and parameters to start with."""

    dataset: loader.Dataset
    streams: dict[int, loader.Batches | RecordBatches]  # by seed
    eval_set: Examples  # [n B ...]
    metrics: list[Prepared]
    questions: Questions  # tasks of config.evaluation
    whole: Whole | None  # of all held-out text, where the config asks for it
    given: dict[str, np.ndarray]  # by path; {} where the run starts with drawn ones


def open_feed(task: Task, program: Program, seeds: Iterable[int]) -> Feed:
    """What runs of the task with these seeds read.

    Raises UserError for data that cannot be read, learnt or cut into batches, for metrics that
    cannot be taken, and for parameters in config.train.initial that do not fit the program.
    """
    dataset, experiment = task.dataset, task.experiment
    streams = {seed: task.batches(dataset.train, seed) for seed in seeds}
    eval_set = task.eval_set()
    initial.check_frozen(program.state.slots[FROZEN], task.initial)
    jax.eval_shape(program.init, hyper_of(experiment), task.initial)
    asked = questions(task)
    whole = of_heldout(task, text_run(task)) if experiment.evaluation.whole else None
    return Feed(dataset, streams, eval_set, task.metrics, asked, whole, task.initial)


def judged(feed: Feed, params: PyTree, at_end: bool) -> dict[str, dict[str, float]]:
    """What the tasks find of a model with these parameters, by label; at the end of a run also the
    likelihood of the whole held-out text.
    """
    found = values(feed.questions.put(params))
    if at_end and feed.whole is not None:
        found["heldout_whole"] = feed.whole(params).values
    return found
