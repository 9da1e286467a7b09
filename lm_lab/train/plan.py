"""What a run will cost, before anything runs: counted, lowered and compiled, never allocated."""

import re
from collections import Counter
from typing import Any, NamedTuple

import jax

from lm_lab.compute import memory
from lm_lab.data.loader import Dataset
from lm_lab.engine import sharding
from lm_lab.engine import step as steps_of
from lm_lab.train import program as programs
from lm_lab.train.feed import open_feed
from lm_lab.train.program import Program
from lm_lab.train.task import Task
from lm_lab.types import PyTree

COLLECTIVE = re.compile(
    r"= \S+ (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


class Plan(NamedTuple):
    """A program, and what one call of it takes of each device."""

    program: Program
    dataset: Dataset
    state_bytes: dict[str, int]  # of a device, by category
    call: memory.Memory | None  # of a device; None where the compiler does not say
    collectives: dict[str, int]  # operations in the compiled call, by kind


def plan(task: Task) -> Plan:
    """Compiles a call of the task's program for its mesh, and opens what it reads.

    Raises UserError as training does before its first step.
    """
    experiment = task.experiment
    sharding.check_fit(
        experiment.mesh, experiment.train.batch_size // experiment.train.microbatches, 1
    )
    mesh = sharding.make_mesh(experiment.mesh)
    program = programs.assemble(task)
    sharding.check_split(
        experiment.mesh, program.state, task.family.attention(experiment.model).heads or None
    )
    open_feed(task, program, [experiment.seed])
    shardings = sharding.state_shardings(mesh, program.state, 1)
    state = jax.tree.map(_abstract, sharding.unbox(program.state), shardings)
    examples = programs.abstract_examples(task, experiment.train.batch_size)
    calls = min(experiment.train.steps_per_call, program.steps)
    examples = jax.tree.map(lambda x: jax.ShapeDtypeStruct((calls, *x.shape), x.dtype), examples)
    with sharding.use(mesh):
        step = sharding.jit_step(steps_of.chunk(program.step), mesh, shardings, 1)
        compiled = step.lower(state, examples).compile()
    found = dict(Counter(COLLECTIVE.findall(compiled.as_text())))
    held = memory.state_bytes(state.params, state.opt_state, state.frozen)
    return Plan(program, task.dataset, held, memory.compiled_memory(compiled), found)


def _abstract(leaf: Any, placed: Any) -> PyTree:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed)
