"""What a run reads, opened and checked before anything is compiled; `train` and `plan` refuse the
same here.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import jax

from lm_lab.data import loader
from lm_lab.data.records import RecordBatches
from lm_lab.train import initial
from lm_lab.train import program as programs
from lm_lab.train.program import Program
from lm_lab.train.task import Task
from lm_lab.types import Examples


class Feed(NamedTuple):
    """Batches to train on and to be evaluated by."""

    streams: dict[int, loader.Batches | RecordBatches]  # by seed
    exam: Examples  # [n B ...]


def open_feed(task: Task, program: Program, seeds: Iterable[int]) -> Feed:
    """What runs of the task with these seeds read.

    Raises UserError for data that cannot be read, learnt or cut into batches, for metrics that
    cannot be taken, and for parameters in config.train.initial that do not fit the program.
    """
    dataset, experiment = task.dataset, task.experiment
    streams = {seed: task.batches(dataset.train, seed) for seed in seeds}
    exam = loader.exam(task.batches(dataset.heldout, 0), experiment.train.eval_batches)
    initial.check_frozen(program.state.frozen, task.initial)
    hyper = experiment.update.hyper(experiment.seed)
    jax.eval_shape(partial(programs.start, task), hyper, task.initial)
    _ = task.metrics
    return Feed(streams, exam)
