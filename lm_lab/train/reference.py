"""What an objective compares answers with: their likelihoods under the model that training starts
from, taken once, before training.

<cache>/references/<key>    f32[records, 2] (data/kept.py), named by the hash of the tokens, of the
                            parameters, and of all settings that decide the numbers
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from lm_lab.compute import flops
from lm_lab.contracts import Model
from lm_lab.data import kept
from lm_lab.data.documents import digest
from lm_lab.data.loader import AnyBatches, Split
from lm_lab.data.progress import Progress
from lm_lab.data.records import RecordBatches
from lm_lab.data.store import cache_directory
from lm_lab.engine import mesh_fit, sharding
from lm_lab.engine.program import Compiled
from lm_lab.train import initial, restore, shapes
from lm_lab.types import ANSWERS, AdapterFunctions, Examples, PyTree, UserError

Params = tuple[PyTree, PyTree]  # those that an adapter trains, and the frozen ones


class References:
    """The model that training starts from, and what it gives of the answers of each side."""

    def __init__(
        self,
        task: shapes.Bound,
        model: Model,
        adapter: AdapterFunctions,
        given: Mapping[str, np.ndarray],
    ) -> None:
        """Computes nothing yet. `given` are the parameters of `model` by path."""
        self._task, self._model, self._adapter, self._given = task, model, adapter, given
        self._by_side: dict[tuple[str, str], np.ndarray] = {}

    def added(self, split: Split, batches: AnyBatches) -> RecordBatches:
        """The batches of a side with what the model gives of each answer, from the cache or
        computed now, on the run's mesh. Raises UserError for parameters that the model would draw
        at random, and for a mesh that does not fit.
        """
        assert isinstance(batches, RecordBatches)
        side = split.label, split.name
        if side not in self._by_side:
            self._by_side[side] = self._of_records(split, self._in_rows(batches))
        return batches._replace(records=batches.records._replace(reference=self._by_side[side]))

    def flops(self, model: Model, batches: AnyBatches) -> int:
        """What the answers of a side cost, by the operations of `model`, which is the same one in
        plain operations. Computes nothing.
        """
        assert isinstance(batches, RecordBatches)
        batches = self._in_rows(batches)
        rows = shapes.abstract_examples(self._task, batches.batch_size)
        of_call = flops.count(
            partial(self._score, model), sharding.unbox(self._abstract()), rows
        ).total
        return of_call * -(-batches.every_row() // batches.batch_size)

    def _in_rows(self, batches: RecordBatches) -> RecordBatches:
        return batches._replace(batch_size=self._task.experiment.train.microbatch_rows)

    def _of_records(self, split: Split, batches: RecordBatches) -> np.ndarray:
        """f32[records, 2]: a number of each answer, NaN of records that fit into no row."""
        assert split.folder is not None
        experiment, data = self._task.experiment, self._task.experiment.data
        mesh = self._mesh(batches.batch_size)
        params = self._params(mesh)
        facts = (
            (split.folder.name, split.name, data.length, data.pack, data.too_long),
            (experiment.model, experiment.adapter, experiment.precision),
            restore.hash_of(sharding.on_each(params, mesh)),
        )
        path = cache_directory().with_name("references") / digest([repr(facts)])[:32]
        found = kept.read(path, "<f4", len(batches.records.offsets) * ANSWERS)
        # processes that share the mesh compute together, or none does
        if sharding.anywhere(found is None, mesh) or found is None:
            found = kept.write(path, "<f4", self._computed(batches, params, mesh))
        return found.reshape(-1, ANSWERS)

    def _mesh(self, rows: int) -> Mesh:
        """The run's mesh, which is to divide so many rows; one device on a machine that has not all
        of it, as where a run is opened after it was trained elsewhere.
        """
        experiment, config = self._task.experiment, self._task.experiment.mesh
        if config.devices > jax.device_count():
            return sharding.make_mesh(sharding.Config())
        mesh_fit.check_fit(config, rows, 1, experiment.data.length)
        return sharding.make_mesh(config)

    def _params(self, mesh: Mesh) -> Params:
        """The parameters before the first step, on the devices of the mesh."""
        zero = self._task.experiment.mesh.zero
        places = sharding.params_shardings(mesh, self._abstract(), zero)
        begin = jax.jit(lambda given: sharding.unbox(self._begun(given)), out_shardings=places)
        return begin(self._given)

    def _abstract(self) -> Params:
        """Shapes and dtypes of the parameters before the first step, boxed."""
        return jax.eval_shape(self._begun, self._given)

    def _begun(self, given: Mapping[str, Array]) -> Params:
        """The parameters before the first step, boxed, from those that are given by path."""
        task = self._task
        drawn = jax.eval_shape(self._model.init, jax.random.key(0), shapes.example_inputs(task))
        params = initial.filled(drawn["params"], given)
        for path, leaf in initial.leaves(params).items():
            if isinstance(leaf, jax.ShapeDtypeStruct):
                raise UserError(
                    f"{initial.KEY}: has no parameter {path}, and the objective compares with the "
                    "whole model that training starts from; name a run of the same model"
                )
        dtype = task.experiment.precision.parameters
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
        trained, frozen = self._adapter.split(jax.random.key(0), params)
        return initial.continued(trained, given), frozen

    def _score(self, model: Model, params: Params, examples: Examples) -> Array:
        """A number of each answer of a batch."""
        task, (trained, frozen) = self._task, params
        variables = self._adapter.variables(trained, frozen, task.experiment.precision.compute)
        batch = task.objective.prepare(jax.random.key(0), examples)
        assert task.objective_kind.reference is not None
        return task.objective_kind.reference(model.apply(variables, batch.inputs), batch)

    def _computed(self, batches: RecordBatches, params: Params, mesh: Mesh) -> np.ndarray:
        score = jax.jit(partial(self._score, self._model), out_shardings=sharding.everywhere(mesh))
        exact = self._task.experiment.precision.deterministic
        scored = Compiled(score, mesh, deterministic=exact)
        place = sharding.rows_sharding(mesh)
        found = np.full((len(batches.records.offsets), ANSWERS), np.nan, np.float32)
        rows, size = batches.every_row(), batches.tokens.nbytes
        with Progress("Likelihoods of the reference", size) as progress:
            for first in range(0, rows, batches.batch_size):
                examples = sharding.put(batches.once(first, batches.batch_size), place)
                members = batches.members[first : first + batches.batch_size]
                scores = np.asarray(scored(params, examples))[: len(members)]
                by_record = scores.reshape(*members.shape, ANSWERS)
                found[members[members >= 0]] = by_record[members >= 0]
                progress.add(size * len(members) // rows)
        return found
