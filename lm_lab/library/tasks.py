"""What a config describes, for a training loop of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from lm_lab import config as configs
from lm_lab.data import loader
from lm_lab.evaluation.likelihood import likelihood, rates
from lm_lab.library.configs import Source, init_params, load_config
from lm_lab.train import task as tasks
from lm_lab.train.compiled import CompiledProgram, compile_program
from lm_lab.train.eval_sets import EvalSet, of_mixture
from lm_lab.train.experiment import Experiment
from lm_lab.types import Codec, Examples, ObjectiveFunctions, PyTree


@dataclass(frozen=True)
class Task:
    """A model, what it learns, and the text that it learns it from.

    model      the Linen module: model.apply({"params": params}, batch.inputs) -> logits
    objective  prepare(key, examples) -> batch, and loss(logits, batch) -> sums: "nll" in nats over
               the batch, "weight", its targets, and "bytes", the UTF-8 bytes that these stand for
    """

    config: configs.ConfigDict  # complete, with every default
    experiment: Experiment  # the same, as typed settings
    model: Any
    objective: ObjectiveFunctions
    dataset: loader.Dataset
    bound: tasks.Task  # what else the config names, loaded and opened

    @property
    def tokenizer(self) -> Codec:
        """encode(text) -> ids, decode(ids) -> text."""
        return self.dataset.tokenizer

    def init(self, seed: int = 0) -> PyTree:
        """The parameters with which a run of that seed begins."""
        return init_params(self.model, seed)

    def examples(self, step: int) -> Examples:
        """The windows that a run of the config trains on in a step [B ...]: the same ones always.

        >>> task.examples(3).tokens.shape
        (8, 17)
        """
        return jax.tree.map(lambda part: part[0], self._training.chunk(step, 1))

    def evaluate(self, params: PyTree) -> dict[str, float]:
        """Of the held-out text: nats a token ("nll"), "bits_per_byte", "accuracy", ... Sources of
        a mixture count by the weights that they end with.

        >>> task.evaluate(task.init())["nll"] > 4
        True
        """
        sums = [
            {"": jax.device_get(self._evaluate(params, each.examples))} for each in self._heldout
        ]
        return rates(of_mixture(self._heldout, sums)[""])

    def program(self, seeds: Sequence[int] = ()) -> CompiledProgram:
        """What `train_run` trains with, without a directory: optimizer, schedule, adapter and mesh
        of the config; one member for each of the seeds, or one with the config's.

        start() gives the state before step 0, engine.batch(step, steps, state) the examples of
        some steps, engine.step(state, examples) the state after them and metrics [P steps], and
        merged_params(state, member) the parameters of one. `step` uses up the state it is given.

        >>> task.program(seeds=[0, 1]).members
        2
        """
        seeds = seeds or [self.experiment.seed]
        return compile_program([self.bound.replace(seed=seed) for seed in seeds])

    @cached_property
    def _training(self) -> Any:
        return self.bound.training(self.experiment.seed)

    @cached_property
    def _heldout(self) -> list[EvalSet]:
        first = self.experiment.train.selection_batches
        sets = self.bound.eval_sets()
        return [
            each._replace(examples=jax.tree.map(lambda part: part[first:], each.examples))
            for each in sets
        ]

    @cached_property
    def _evaluate(self) -> Any:
        compute = self.experiment.precision.compute
        return jax.jit(likelihood(self.model, self.objective, compute))


def bind(source: Source, changes: dict[str, Any] | None = None) -> Task:
    """The task of a config: its text is read and tokenized, once. `source` and `changes` are as
    those of `load_config`. Raises UserError for a config that is wrong.

    >>> task = lm_lab.bind(tiny, {"model.depth": 1})
    >>> task.model.cfg.vocab
    257
    """
    experiment, values = configs.resolve(load_config(source, changes))
    task = tasks.bind(experiment, values)
    config = configs.wrap(task.values)
    return Task(config, task.experiment, task.model, task.objective, task.dataset, task)
