"""The model, objective and data of a config, for a training loop of one's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from lm_lab import config as configs
from lm_lab.library.configs import Source, load_config
from lm_lab.train import task as tasks
from lm_lab.train.compiled import CompiledProgram, compile_program
from lm_lab.train.microbatches import settle
from lm_lab.train.task import Task

__all__ = ["Task", "bind", "make_program"]


def bind(source: Source, changes: Mapping[str, Any] | None = None) -> Task:
    """The task of a config: what it names is loaded, and its text is read and tokenized, once.
    `source` and `changes` are as those of `load_config`. Raises UserError for a config that is
    wrong.

    >>> task = lm_lab.bind(tiny, {"model.depth": 1})
    >>> task.model.cfg.vocab
    257
    """
    return tasks.bind(*configs.resolve(load_config(source, changes)))


def make_program(task: Task, seeds: Sequence[int] = ()) -> CompiledProgram:
    """The compiled program with which `train_run` trains, without a directory: with optimizer,
    schedule, adapter and mesh of the config. It has one member for each of the seeds, by default
    one with the config's seed.

    start() gives the state before step 0, engine.batch(step, steps, state) the examples of some
    steps, engine.step(state, examples) the state after them and metrics [P steps], and
    merged_params(state, member) the parameters of one. `step` uses up the state it is given.

    >>> lm_lab.make_program(task, seeds=[0, 1]).members
    2
    """
    members = [task.replace(seed=seed) for seed in seeds or [task.experiment.seed]]
    return compile_program(settle(members))
