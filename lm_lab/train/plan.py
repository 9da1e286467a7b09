"""What a run will cost, before anything runs: counted, lowered and compiled, never allocated."""

import re
from collections import Counter
from typing import NamedTuple

import jax

from lm_lab.compute import memory
from lm_lab.data.loader import Dataset
from lm_lab.train import program as programs
from lm_lab.train.compiled import compile_program
from lm_lab.train.program import Program
from lm_lab.train.task import Task

COLLECTIVE = re.compile(
    r"= \S+ (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


class Plan(NamedTuple):
    """A program, its data, and the memory that a call takes on each device."""

    program: Program
    dataset: Dataset
    epochs: dict[str, float]  # by source, how often the run reads its rows
    state_bytes: dict[str, int]  # on a device, by category
    call: memory.Memory | None  # on a device; None where the compiler does not say
    collectives: dict[str, int]  # operations in the compiled call, by kind
    whole: list[str]  # a line for each dimension that an axis of the mesh does not divide


def plan(task: Task) -> Plan:
    """Compiles a call of the task's program for its mesh, and opens what it reads.

    Raises UserError as training does before its first step.
    """
    compiled = compile_program([task], check_memory=False)
    program, train = compiled.program, task.experiment.train
    calls = min(train.steps_per_call, program.steps)
    examples = programs.abstract_examples(task, train.batch_size)
    examples = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, calls, *x.shape), x.dtype), examples)
    step = compiled.engine.step.compile(compiled.abstract_state(), examples)
    collectives = dict(Counter(COLLECTIVE.findall(step.as_text() or "")))
    state = compiled.abstract
    held = memory.state_bytes(state.params, state.opt_state, state.slots)
    compiled.feed.warn_of_repeats(program.steps)
    epochs = compiled.feed.epochs(program.steps)
    return Plan(
        program,
        compiled.feed.dataset,
        epochs,
        held,
        memory.compiled_memory(step),
        collectives,
        compiled.whole,
    )
