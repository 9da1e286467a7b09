"""What a run reads, opened and checked before anything is compiled; `train` and `plan` refuse the
same here.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.data import loader
from lm_lab.data.records import RecordBatches
from lm_lab.engine.state import FROZEN
from lm_lab.train import initial, metrics
from lm_lab.train.experiment import Experiment
from lm_lab.train.metrics import Prepared
from lm_lab.train.program import Program, hyper_of
from lm_lab.types import Examples


class Feed(NamedTuple):
    """Batches to train on and to be judged by, metrics, and parameters to start with."""

    dataset: loader.Dataset
    streams: dict[int, loader.Batches | RecordBatches]  # by seed
    exam: Examples  # [n B ...]
    metrics: list[Prepared]
    given: dict[str, np.ndarray]  # by path; {} where the run starts with drawn ones


def open_feed(experiment: Experiment, program: Program, seeds: Iterable[int]) -> Feed:
    """What runs of the experiment with these seeds read.

    Raises UserError for data that cannot be read, learnt or cut into batches, for metrics that
    cannot be taken, and for parameters in config.train.initial that do not fit the program.
    """
    dataset = loader.open_dataset(experiment.data)
    experiment.check_labels(dataset)
    window, stride = experiment.window()
    rows = experiment.train.batch_size
    cut = partial(loader.cut, experiment.data, window=window, stride=stride, batch_size=rows)
    streams = {seed: cut(dataset.train, seed=seed) for seed in seeds}
    exam = loader.exam(cut(dataset.heldout, seed=0), experiment.train.eval_batches)
    given = initial.read(experiment)
    initial.check_frozen(program.state.slots[FROZEN], given)
    jax.eval_shape(program.init, hyper_of(experiment), given)
    return Feed(dataset, streams, exam, metrics.prepare(experiment, dataset), given)
