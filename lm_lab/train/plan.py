"""What a run will cost, before anything runs: counted, lowered and compiled, never allocated."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from lm_lab.compute import memory
from lm_lab.compute.collectives import Collective, collectives
from lm_lab.data.loader import Dataset
from lm_lab.engine import sharding
from lm_lab.train.feed import open_feed
from lm_lab.train.layout import Layout, lay_out
from lm_lab.train.microbatches import settle
from lm_lab.train.program import Program
from lm_lab.train.task import Task


class Plan(NamedTuple):
    """A program, its data, and the memory that a call takes on each device."""

    program: Program
    dataset: Dataset
    epochs: dict[str, float]  # by source, how often the run reads its rows
    state_bytes: dict[str, int]  # on a device, by category
    call: memory.Memory | None  # on a device; None where the compiler does not say
    collectives: dict[str, Collective]  # of the compiled call, by kind
    steps_per_call: int
    reference_flops: int  # of what the objective compares with, taken once, before training
    whole: list[str]  # a line for each dimension that an axis of the mesh does not divide


def plan(task: Task) -> Plan:
    """Compiles a call of the task's program for its mesh, and opens what it reads.

    Raises UserError as training does before its first step.
    """
    (task,) = settle([dataclasses.replace(task, only_plans=True)])
    laid = lay_out([task], check_memory=False)
    program = laid.program
    feed = open_feed(task, program, {task.experiment.seed})
    step = laid.compile_step(task)
    feed.warn_of_repeats(program.steps)
    return Plan(
        program,
        feed.dataset,
        feed.epochs(program.steps),
        _state_bytes(laid, task),
        memory.compiled_memory(step),
        collectives(step.as_text() or ""),
        min(task.experiment.train.steps_per_call, program.steps),
        feed.reference_flops,
        laid.whole,
    )


def _state_bytes(laid: Layout, task: Task) -> dict[str, int]:
    state, zero = laid.abstract, task.experiment.mesh.zero
    places = sharding.params_shardings(laid.mesh, laid.program.state.params, zero, "gradients")
    gradients = sharding.abstract(state.params, places)
    return memory.state_bytes(state.params, state.opt_state, state.slots, gradients)


TaskOf = Callable[[dict[str, Any]], Task]  # the task of a config with these dotted keys changed


def largest_batch(task_of: TaskOf, changes: dict[str, Any], memory_bytes: float) -> int | None:
    """The largest batch, in rows, whose step fits into so many bytes a device; 0 where none does,
    None where the compiler does not say, or another batch takes no more.

    Memory grows in proportion to the rows of a device once these take most of it: it compiles the
    two smallest batches that the mesh divides, and where more fit the one that these promise.
    """
    first = task_of(changes).experiment
    unit = sharding.row_unit(first.mesh) * (first.train.microbatches or 1)

    def peak(units: int) -> float | None:
        task = task_of({**changes, "train.batch_size": units * unit})
        call = memory.compiled_memory(lay_out([task], check_memory=False).compile_step(task))
        return None if call is None else call.peak

    few, low, more, promised = 1, peak(1), 2, 0
    for _ in range(2):
        high = peak(more)
        if low is None or high is None or high <= low:
            return None
        room = (memory_bytes - low) / (high - low)
        promised = max(0, math.floor(few + (more - few) * room))
        if promised <= 2:
            break
        few, low, more = more, high, promised
    return promised * unit
