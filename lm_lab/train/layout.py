"""A program laid out on the mesh of its tasks: jitted, with nothing read and nothing allocated."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import stages
from jax.sharding import Mesh

from lm_lab.engine import mesh_fit, sharding
from lm_lab.engine import program as engines
from lm_lab.engine.state import TrainState, divide, unite
from lm_lab.engine.step import How, populate_evaluate
from lm_lab.train import program as programs
from lm_lab.train import state_memory
from lm_lab.train.experiment import Experiment
from lm_lab.train.program import Program
from lm_lab.train.shapes import abstract_examples
from lm_lab.train.task import Task
from lm_lab.types import Examples, Hyper, UserError

# FLOPs of a step that fill an accelerator: at the 4e14 a second that products reach on an H100 they
# take 2.5 ms, where launching the kernels of a small step takes about 1 ms. Reasoned, not measured:
# tools/bench population measures where the gain of vmap ends.
FULL_FLOPS = 1e12


class Layout(NamedTuple):
    """A program of one or several runs on a mesh. Functions compile at their first call."""

    program: Program
    engine: engines.CompiledEngine  # its `batch` reads nothing: `compile_program` gives it another
    test: engines.Compiled  # as engine.evaluate, but with no batches set apart for selection
    mesh: Mesh
    abstract: TrainState  # of one run: shapes, dtypes and shardings
    placed: TrainState  # the shardings of the state of all members
    hyper: Hyper  # of all members
    whole: list[str]  # a line for each dimension that an axis of the mesh does not divide

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state of all members."""
        members, slots = len(self.hyper["seed"]), self.program.slots

        def of_all(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype)

        own, shared = divide(self.abstract, slots)
        return sharding.abstract(unite(jax.tree.map(of_all, own), shared), self.placed)

    def compile_step(self, task: Task) -> stages.Compiled:
        """A call of its train step, compiled."""
        train, members = task.experiment.train, len(self.hyper["seed"])
        calls = min(train.steps_per_call, self.program.steps)
        examples = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((members, calls, *leaf.shape), leaf.dtype),
            abstract_examples(task, train.batch_size),
        )
        return self.engine.step.compile(self.abstract_state(), examples)


def lay_out(tasks: Sequence[Task], how: How | None = None, check_memory: bool = True) -> Layout:
    """The program of the tasks on their mesh; `how` members are run, "vmap" or "map", is chosen by
    the device unless given.

    Raises UserError for a mesh that does not fit, and with `check_memory` for states that do not
    fit into memory.
    """
    task, runs = tasks[0], [task.experiment for task in tasks]
    first = task.experiment
    _check_carried(first)
    mesh_fit.check_fit(first.mesh, first.train.microbatch_rows, len(runs), first.data.length)
    mesh = sharding.make_mesh(first.mesh)
    program = programs.assemble(task)
    mesh_fit.check_split(
        first.mesh, program.state, task.family.attention(first.model.settings).heads or None
    )
    of_one = sharding.state_shardings(mesh, program.state, first.mesh.zero)
    abstract = sharding.abstract(sharding.unbox(program.state), of_one)
    if check_memory:
        state_memory.check(abstract, program.slots, mesh, len(runs))

    if how is None:
        place = (jax.default_backend(), first.mesh.population)
        how = "map" if in_turn(len(runs), program.flops_per_step, *place) else "vmap"
    engine = engines.Engine(program.init, program.step, program.evaluate, _nothing)
    engine = engines.of_members(engine, how, program.slots)
    placed = sharding.population_shardings(of_one, program.slots)
    parts = first.mesh.pipeline_microbatches
    exact = first.precision.deterministic
    compiled = engines.jit(engine, mesh, placed, parts, exact)
    test = compiled.evaluate
    if program.test is not program.evaluate:
        test = populate_evaluate(program.test, how, program.slots)
        test = engines.jit_evaluate(test, mesh, parts, exact)
    return Layout(
        program,
        compiled,
        test,
        mesh,
        abstract,
        placed,
        stack([programs.hyper_of(run) for run in runs]),
        mesh_fit.whole(first.mesh, program.state),
    )


def _check_carried(experiment: Experiment) -> None:
    """Raises UserError where devices would split rows that are not a text from its start, or pass
    on parts of a batch without the state that they carry.
    """
    mesh = experiment.mesh
    for axis, size in (("sequence", mesh.sequence), ("pipeline", mesh.pipeline)):
        if size > 1 and experiment.train.carry_state:
            raise UserError(
                f"config.mesh.{axis} splits rows that begin anew, and config.train.carry_state "
                "goes on from the row before; leave one of them out"
            )


def in_turn(members: int, flops_per_step: float, backend: str, devices: int) -> bool:
    """Whether members follow one another in the program ("map"), not side by side ("vmap"), by the
    FLOPs of a step of one, where a mesh has `devices` for them.

    vmap joins small matrices into large ones, which fills an accelerator that one member leaves
    idle. On a CPU map is as fast, and a member keeps its solo run's bits. A member that fills the
    device gains nothing beside others and would need their memory at once: so a population is not
    slower than its runs one after another.
    """
    if members == 1:
        return True
    return devices == 1 and (backend == "cpu" or flops_per_step >= FULL_FLOPS)


def _nothing(first_step: int, steps: int, state: TrainState) -> Examples:
    raise AssertionError(f"a layout has no data: steps {first_step} to {first_step + steps}")


def stack(members: Sequence[Any]) -> Any:
    """Members' trees as one with a leading axis of members, on the host; that of one member is not
    copied.
    """
    if len(members) == 1:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], members[0])
    return jax.tree.map(lambda *leaves: np.stack(leaves), *members)
