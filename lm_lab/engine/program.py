"""The engine as a value, for one run, for the members of a population, and on devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import stages
from jax.sharding import Mesh

from lm_lab.engine import sharding
from lm_lab.engine.state import FROZEN, Init, Slots, TrainState
from lm_lab.engine.step import (
    Evaluate,
    How,
    Step,
    chunk,
    populate,
    populate_evaluate,
    populate_init,
)
from lm_lab.types import Examples, PyTree, Sums

# (first step, steps, state) -> the examples of these steps; for text a function of the step alone,
# for rollouts of the state too
Batch = Callable[[int, int, TrainState], Examples]

# It excludes the kernels of XLA and cuDNN that add in any order, and autotuning, which may choose
# other kernels in another process.
EXACT = {"xla_gpu_deterministic_ops": True}


class Engine(NamedTuple):
    """What training is made of. The first three are pure; `batch` reads what is trained on."""

    init: Init  # (hyper, arrays to start with) -> the state before step 0
    step: Step  # (state, examples) -> (state, metrics)
    evaluate: Evaluate  # (state, eval set) -> sums by name
    batch: Batch


def evaluate_slots(evaluation: Callable[..., dict[str, Sums]], slots: Slots) -> Evaluate:
    """(state, eval set) -> the sums of `evaluation`, a function of (params, eval set, frozen), and
    under NAME_SLOT those of every slot that is evaluated in the place of the parameters.
    """

    def evaluate(state: TrainState, eval_set: Examples) -> dict[str, Sums]:
        return {
            f"{name}{ending}": sums
            for ending, params in evaluated_params(state, slots).items()
            for name, sums in evaluation(params, eval_set, state.slots[FROZEN]).items()
        }

    return evaluate


def evaluated_params(state: TrainState, slots: Slots) -> dict[str, PyTree]:
    """What is evaluated of a run, by the ending of the evaluation's name: "" for the trained
    parameters, "_SLOT" for a slot that takes their place, cast to their dtypes.
    """
    evaluated = [name for name, slot in slots.items() if slot.evaluated]
    averages = {f"_{name}": like(state.slots[name], state.params) for name in evaluated}
    return {"": state.params, **averages}


def like(tree: PyTree, params: PyTree) -> PyTree:
    """The tree cast to the dtypes of the parameters that it replaces."""
    return jax.tree.map(lambda leaf, param: leaf.astype(param.dtype), tree, params)


def of_members(engine: Engine, how: How, slots: Slots) -> Engine:
    """The engine of one run for all members of a population, many steps in a call; `batch` is that
    of the population as it is.
    """
    return Engine(
        populate_init(engine.init, slots),
        populate(chunk(engine.step), how, slots),
        populate_evaluate(engine.evaluate, how, slots),
        engine.batch,
    )


class Compiled:
    """A jitted function of (state, examples), or of two other trees. It is compiled before it is
    called, once for each shape of the examples, so that compiling and running are timed apart.
    `deterministic`: to the same bits in every process.
    """

    def __init__(
        self,
        jitted: Any,
        mesh: Mesh,
        microbatches: int | None = None,
        deterministic: bool = False,
    ) -> None:
        self.jitted, self._mesh, self._microbatches = jitted, mesh, microbatches
        # XLA has such options for GPUs alone.
        self._options = EXACT if deterministic and jax.default_backend() == "gpu" else None
        self.programs: dict[Any, stages.Compiled] = {}  # by the shapes of the examples

    def is_ready(self, examples: PyTree) -> bool:
        """Whether a call with these examples compiles nothing."""
        return _shapes(examples) in self.programs

    def compile(self, state: PyTree, examples: PyTree) -> stages.Compiled:
        """Compiles it for examples of these shapes, which may take minutes. The program is the same
        wherever it is compiled, so that JAX's cache on disk gives a notebook what a run has
        compiled.
        """
        with sharding.use(self._mesh, self._microbatches):
            lowered = self.jitted.lower(state, examples)
        self.programs[_shapes(examples)] = compiled = lowered.compile(self._options)
        return compiled

    def __call__(self, state: PyTree, examples: PyTree) -> Any:
        """The function's value; compiles first where that was not done."""
        if not self.is_ready(examples):
            self.compile(state, examples)
        return self.programs[_shapes(examples)](state, examples)


def _shapes(examples: PyTree) -> Any:
    leaves, structure = jax.tree.flatten(examples)
    return structure, tuple(leaf.shape for leaf in leaves)


class CompiledEngine(NamedTuple):
    """An engine on a mesh: `step` reuses the memory of the state that it is given."""

    init: Compiled
    step: Compiled
    evaluate: Compiled
    batch: Batch


def jit(
    engine: Engine,
    mesh: Mesh,
    placed: TrainState,
    microbatches: int | None = None,
    deterministic: bool = False,
) -> CompiledEngine:
    """The engine on a mesh, with the state's leaves `placed` there, and batches that go through its
    stages in `microbatches`; `deterministic` as in `Compiled`.
    """
    inputs = (placed, sharding.examples_sharding(mesh))
    init = jax.jit(
        lambda hyper, given: sharding.unbox(engine.init(hyper, given)), out_shardings=placed
    )
    read = sharding.everywhere(mesh)
    step = jax.jit(engine.step, in_shardings=inputs, out_shardings=(placed, read), donate_argnums=0)
    evaluate = jit_evaluate(engine.evaluate, mesh, microbatches, deterministic)
    compiled_step = Compiled(step, mesh, microbatches, deterministic)
    compiled_init = Compiled(init, mesh, deterministic=deterministic)
    return CompiledEngine(compiled_init, compiled_step, evaluate, engine.batch)


def jit_evaluate(
    evaluate: Evaluate, mesh: Mesh, microbatches: int | None = None, deterministic: bool = False
) -> Compiled:
    """An evaluation on a mesh."""
    jitted = jax.jit(evaluate, out_shardings=sharding.everywhere(mesh))
    return Compiled(jitted, mesh, microbatches, deterministic)
