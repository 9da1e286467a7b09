"""What a run reads, opened and checked before anything is compiled; `train` and `plan` refuse the
same here.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data import loader
from lm_lab.data.mixture import Mixed
from lm_lab.engine.state import FROZEN
from lm_lab.train import initial
from lm_lab.train.eval_sets import EvalSet, WholeTest
from lm_lab.train.metrics import Prepared
from lm_lab.train.program import Program, hyper_of
from lm_lab.train.task import Task


class Feed(NamedTuple):
    """Batches to train on and to be judged by, metrics, and parameters to start with."""

    dataset: loader.Dataset
    streams: dict[int, Mixed]  # by seed
    eval_sets: list[EvalSet]  # one a source
    test_sets: list[WholeTest]  # of the sources that have one
    metrics: dict[str, list[Prepared]]  # by the evaluation that they belong to
    given: dict[str, np.ndarray]  # by path; {} where the run starts with drawn ones


def open_feed(task: Task, program: Program, seeds: Iterable[int]) -> Feed:
    """What runs of the task with these seeds read.

    Raises UserError for data that cannot be read, learnt or cut into batches, for metrics that
    cannot be taken, and for parameters in config.train.initial that do not fit the program.
    """
    dataset, experiment = task.dataset, task.experiment
    streams = {seed: task.training(seed) for seed in seeds}
    initial.check_frozen(program.state.slots[FROZEN], task.initial)
    jax.eval_shape(program.init, hyper_of(experiment), task.initial)
    eval_sets, test_sets = task.eval_sets(), task.test_sets()
    return Feed(dataset, streams, eval_sets, test_sets, task.metrics, task.initial)
