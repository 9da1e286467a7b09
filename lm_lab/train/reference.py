"""What an objective compares answers with: their likelihoods under the model that training starts
from, taken once, before training.

<cache>/references/<key>    f32[records, 2] (data/kept.py), named by the hash of the tokens, of the
                            parameters, and of all settings that decide the numbers
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.compute import flops
from lm_lab.contracts import Model
from lm_lab.data.documents import digest
from lm_lab.data.kept import kept
from lm_lab.data.loader import AnyBatches, Split
from lm_lab.data.progress import Progress
from lm_lab.data.records import RecordBatches
from lm_lab.data.store import cache_directory
from lm_lab.engine import sharding
from lm_lab.train import initial, restore
from lm_lab.train.experiment import Experiment
from lm_lab.types import (
    ANSWERS,
    AdapterFunctions,
    Batch,
    Examples,
    ObjectiveFunctions,
    PyTree,
    UserError,
)


class References:
    """The model that training starts from, and what it gives of the answers of each side."""

    def __init__(
        self,
        experiment: Experiment,
        model: Model,
        objective: ObjectiveFunctions,
        adapter: AdapterFunctions,
        answers: Callable[[Array, Batch], Array],
        given: Mapping[str, np.ndarray],
    ) -> None:
        """Computes nothing yet. `answers` is Objective.reference, `given` are the parameters by
        path.
        """
        self._experiment, self._model, self._objective = experiment, model, objective
        self._adapter, self._answers, self._given = adapter, answers, given
        self._by_side: dict[tuple[str, str], np.ndarray] = {}

    def added(self, split: Split, batches: AnyBatches) -> RecordBatches:
        """The batches of a side with what the model gives of each answer, from the cache or
        computed now. Raises UserError for parameters that the model would draw at random.
        """
        assert isinstance(batches, RecordBatches)
        side = split.label, split.name
        if side not in self._by_side:
            self._by_side[side] = self._of_records(split, batches)
        return batches._replace(records=batches.records._replace(reference=self._by_side[side]))

    def flops(self, model: Model, batches: AnyBatches) -> int:
        """What the answers of a side cost, by the operations of `model`, which is the same one in
        plain operations. Computes nothing.
        """
        assert isinstance(batches, RecordBatches)
        batches = self._in_rows(batches)
        rows = batches.once(0, batches.batch_size)
        score = partial(self._score, model)
        of_call = flops.count(score, self._variables(rows), rows).total
        return of_call * -(-batches.every_row() // batches.batch_size)

    def _in_rows(self, batches: RecordBatches) -> RecordBatches:
        return batches._replace(batch_size=self._experiment.train.microbatch_rows)

    def _of_records(self, split: Split, batches: RecordBatches) -> np.ndarray:
        """f32[records, 2]: a number of each answer, NaN of records that fit into no row."""
        assert split.folder is not None
        experiment, data = self._experiment, self._experiment.data
        batches = self._in_rows(batches)
        variables = self._variables(batches.once(0, 1))
        facts = (
            (split.folder.name, split.name, data.length, data.pack, data.too_long),
            (experiment.model, experiment.adapter, experiment.precision),
            restore.hash_of(variables),
        )
        path = cache_directory().with_name("references") / digest([repr(facts)])[:32]
        size = len(batches.records.offsets) * ANSWERS
        compute = partial(self._computed, batches, variables)
        return kept(path, "<f4", size, compute).reshape(-1, ANSWERS)

    def _variables(self, examples: Examples) -> PyTree:
        """The variables of the model before the first step."""
        inputs = jax.eval_shape(self._objective.prepare, jax.random.key(0), examples).inputs
        drawn = jax.eval_shape(self._model.init, jax.random.key(0), inputs)["params"]
        params = initial.filled(drawn, self._given)
        for path, leaf in initial.leaves(params).items():
            if isinstance(leaf, jax.ShapeDtypeStruct):
                raise UserError(
                    f"{initial.KEY}: has no parameter {path}, and the objective compares with the "
                    "whole model that training starts from; name a run of the same model"
                )
        precision = self._experiment.precision
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision.parameters), params)
        trained, frozen = self._adapter.split(jax.random.key(0), params)
        trained = initial.continued(trained, self._given)
        trained, frozen = sharding.unbox((trained, frozen))
        return self._adapter.variables(trained, frozen, precision.compute)

    def _score(self, model: Model, variables: PyTree, examples: Examples) -> Array:
        batch = self._objective.prepare(jax.random.key(0), examples)
        return self._answers(model.apply(variables, batch.inputs), batch)

    def _computed(self, batches: RecordBatches, variables: PyTree) -> np.ndarray:
        score = jax.jit(partial(self._score, self._model))
        found = np.full((len(batches.records.offsets), ANSWERS), np.nan, np.float32)
        rows, size = batches.every_row(), batches.tokens.nbytes
        with Progress("Likelihoods of the reference", size) as progress:
            for first in range(0, rows, batches.batch_size):
                scores = np.asarray(score(variables, batches.once(first, batches.batch_size)))
                members = batches.members[first : first + batches.batch_size]
                by_record = scores[: len(members)].reshape(*members.shape, ANSWERS)
                found[members[members >= 0]] = by_record[members >= 0]
                progress.add(size * len(members) // rows)
        return found
