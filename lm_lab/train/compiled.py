"""Runs of one program, on their devices: all of their members at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lm_lab.data.loader import Dataset
from lm_lab.engine import program as engines
from lm_lab.engine import sharding
from lm_lab.engine.state import FROZEN, TrainState, loaded, member, saved, saved_slots
from lm_lab.engine.step import How
from lm_lab.train import initial, restore, room
from lm_lab.train import program as programs
from lm_lab.train.metrics import Prepared
from lm_lab.train.program import Program
from lm_lab.train.task import Task
from lm_lab.types import Examples, Hyper, PyTree, Sums


class CompiledProgram(NamedTuple):
    """A program on devices, for all members at once, and what they read.

    `engine` compiles step and evaluate when they are first asked to. Arrays have a leading axis P,
    also where a run is alone.
    """

    program: Program
    engine: engines.CompiledEngine
    mesh: Mesh
    abstract: TrainState  # of one run: shapes, dtypes and shardings
    placed: TrainState  # the shardings of the state of all members
    hyper: Hyper  # of all members
    dataset: Dataset
    eval_set: Examples  # [n B ...], on the devices
    metrics: list[Prepared]
    given: Mapping[str, np.ndarray]  # parameters by path; {} where the runs start with drawn ones

    @property
    def members(self) -> int:
        """How many runs it trains."""
        return len(self.hyper["seed"])

    def start(self) -> TrainState:
        """The state before step 0."""
        return self.engine.init(self.hyper, self.given)

    def evaluate(self, state: TrainState) -> list[dict[str, Sums]]:
        """Each member's sums on the eval set, by the name of the evaluation."""
        return split(jax.device_get(self.engine.evaluate(state, self.eval_set)), self.members)

    def merged_params(self, state: TrainState, index: int) -> PyTree:
        """The parameters of one member's model, its adapter merged into them."""
        own = member(state._replace(opt_state=()), index, self.program.slots)
        return self.program.merged_params(own)

    def bases(self, state: TrainState) -> list[str]:
        """Of each member the hash of the parameters that are not trained;
        "" where there are none.
        """
        if self.program.slots[FROZEN].shared:
            return [restore.hash_of(state.slots[FROZEN])] * self.members
        return [restore.hash_of(own) for own in split(state.slots[FROZEN], self.members)]

    def load(self, held: Sequence[PyTree]) -> TrainState:
        """The state of which each member's checkpoint holds a part, as `checkpoint_form` says;
        slots that are not saved begin anew.
        """
        slots, abstract = self.program.slots, self.abstract.slots
        unsaved = {name: abstract[name] for name in slots.keys() - saved_slots(slots)}
        if jax.tree.leaves(unsaved):
            begun = self.start().slots
            unsaved = {name: begun[name] for name in unsaved}
        join = jax.jit(
            lambda *members: jax.tree.map(lambda *leaves: jnp.stack(leaves), *members),
            out_shardings=saved(self.placed, slots),
        )
        return loaded(join(*held), unsaved)

    def held(self, state: TrainState) -> list[PyTree]:
        """What the checkpoint of each member holds, on the host."""
        return split(jax.device_get(saved(state, self.program.slots)), self.members)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state of all members."""
        return sharding.abstract(jax.eval_shape(self.start), self.placed)

    def checkpoint_form(self) -> dict[str, PyTree]:
        """Shapes, dtypes and shardings of what a checkpoint of one run holds."""
        return saved(self.abstract, self.program.slots)


def compile_program(
    tasks: Sequence[Task], how: How | None = None, check_room: bool = True
) -> CompiledProgram:
    """The program of some tasks on their mesh; `how` several become one, "vmap" or "map", is chosen
    by the device.

    Raises UserError for a mesh that does not fit, data that cannot be read, and with `check_room`
    for states that are larger than the memory at hand.
    """
    task, runs = tasks[0], [task.experiment for task in tasks]
    first = task.experiment
    sharding.check_fit(first.mesh, first.train.batch_size // first.train.microbatches, len(runs))
    mesh = sharding.make_mesh(first.mesh)
    program = programs.assemble(task)
    sharding.check_split(
        first.mesh, program.state, task.family.attention(first.model.settings).heads or None
    )
    if check_room:
        room.check(program, mesh, len(runs))
    streams = {run.seed: task.batches(task.dataset.train, run.seed) for run in runs}
    eval_set = task.eval_set()
    initial.check_frozen(program.state.slots[FROZEN], task.initial)
    jax.eval_shape(program.init, programs.hyper_of(first), task.initial)

    def batch(first_step: int, steps: int, state: TrainState) -> Examples:
        del state  # text is read in an order of its own
        chunks = {seed: stream.chunk(first_step, steps) for seed, stream in streams.items()}
        return stack([chunks[run.seed] for run in runs])

    # vmap fills a GPU with small matrices; on a CPU map is as fast, and a member keeps its solo
    # run's bits.
    in_turn = len(runs) == 1 or (jax.default_backend() == "cpu" and first.mesh.population == 1)
    engine = engines.Engine(program.init, program.step, program.evaluate, batch)
    engine = engines.of_members(engine, how or ("map" if in_turn else "vmap"), program.slots)
    of_one = sharding.state_shardings(mesh, program.state)
    placed = sharding.population_shardings(of_one, program.slots)
    return CompiledProgram(
        program,
        engines.jit(engine, mesh, placed),
        mesh,
        sharding.abstract(sharding.unbox(program.state), of_one),
        placed,
        stack([programs.hyper_of(run) for run in runs]),
        task.dataset,
        jax.device_put(eval_set, sharding.eval_set_sharding(mesh)),
        task.metrics,
        task.initial,
    )


def stack(members: Sequence[Any]) -> Any:
    """Members' trees as one with a leading axis of members, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *members)


def split(tree: Any, members: int) -> list[Any]:
    """The trees of the members of one with a leading axis."""
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(members)]
