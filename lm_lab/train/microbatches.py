"""The number of microbatches, where a run leaves it to the memory of its devices
(config.train.microbatches=None): the fewest whose step fits.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from lm_lab.compute import memory
from lm_lab.engine import sharding
from lm_lab.runs import peers
from lm_lab.train import state_memory
from lm_lab.train.layout import lay_out
from lm_lab.train.program import Accumulation
from lm_lab.train.task import Task
from lm_lab.types import UserError

FILLED = 0.9  # of a device's memory is for the step; evaluations and the allocator need the rest
KEY = "config.train.microbatches"


def settle(tasks: Sequence[Task], before: Accumulation | None = None) -> list[Task]:
    """The tasks of one program with train.microbatches and train.memory_bytes as numbers. `before`
    is what a run has been trained with, which stays while devices have as much memory, so that it
    resumes in the same bits.

    It compiles a step for one number after another, seldom more than four. Raises UserError where
    the rows of one step, or of none, fit.
    """
    experiment = tasks[0].experiment
    train = experiment.train
    if train.microbatches is not None:
        return list(tasks)
    room = peers.of_first(lambda: train.memory_bytes or _room(tasks[0]))
    parts = _choices(train.batch_size, experiment.mesh.least_rows)
    if before and before.microbatches in parts and (before.memory_bytes or 0) <= room:
        return [_with(task, before) for task in tasks]

    @cache
    def peak(microbatches: int) -> float:
        own = [_with(task, Accumulation(microbatches, room)) for task in tasks]
        call = memory.compiled_memory(lay_out(own, check_memory=False).compile_step(own[0]))
        if call is None:
            raise UserError(f"{KEY}: the compiler does not say what a step takes; give a number")
        return peers.of_first(lambda: call.peak)

    chosen = fewest(parts, lambda microbatches: peak(microbatches), room)
    if chosen is None:
        rows = train.batch_size // parts[-1]
        raise UserError(
            f"{KEY}: at most {parts[-1]} are possible, of {rows} rows, and a step then takes "
            f"{peak(parts[-1]) / 1e9:,.4g} GB of the {room / 1e9:,.4g} GB a device; make the model "
            "or config.data.length smaller, set config.model.remat, or raise config.mesh.fsdp"
        )
    return [_with(task, Accumulation(chosen, room)) for task in tasks]


def _room(task: Task) -> float:
    """Bytes of a device that a step may take."""
    room = FILLED * state_memory.of_a_device(sharding.make_mesh(task.experiment.mesh))
    if math.isinf(room):
        raise UserError(
            f"{KEY}: the device does not say its memory; give config.train.memory_bytes"
        )
    return room


def _choices(rows: int, least: int) -> list[int]:
    """The numbers of microbatches that divide the rows of a step, each a multiple of `least`."""
    return [m for m in range(1, rows // least + 1) if rows % (m * least) == 0] or [1]


def fewest(parts: Sequence[int], peak: Callable[[int], float], room: float) -> int | None:
    """The least of `parts` (ascending) whose peak is at most `room`; None where none is.

    Peaks fall about in proportion to 1 / parts, so each look is at the number that this gives
    between the two that are known, one too few and one enough.
    """
    low, high = 0, len(parts) - 1
    if peak(parts[low]) <= room:
        return parts[low]
    if peak(parts[high]) > room:
        return None
    while high - low > 1:
        above, below = peak(parts[low]), peak(parts[high])
        share = (room - below) / (above - below)  # of the way from enough to too few
        aim = 1 / (1 / parts[high] + share * (1 / parts[low] - 1 / parts[high]))
        guess = next(i for i in range(low + 1, high + 1) if parts[i] >= aim or i == high)
        middle = min(guess, high - 1)
        low, high = (low, middle) if peak(parts[middle]) <= room else (middle, high)
    return parts[high]


def _with(task: Task, chosen: Accumulation) -> Task:
    """The task with the numbers that were chosen, in its settings and in their plain values."""
    numbers: dict[str, Any] = chosen._asdict()
    values = {**task.values, "train": {**task.values["train"], **numbers}}
    train = dataclasses.replace(task.experiment.train, **numbers)
    return dataclasses.replace(task.replace(train=train), values=values)
