"""Counts the sizes and FLOPs of runs that have not begun, with no array allocated."""

import json
import os
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from lm_lab import config as configs
from lm_lab.compute.memory import state_bytes
from lm_lab.data.text import Texts
from lm_lab.library.workers import worker_command
from lm_lab.runs.records import usable_cores
from lm_lab.runs.sweep import Planned
from lm_lab.sweeps.groups import program
from lm_lab.train.program import Program, assemble, steps_of
from lm_lab.train.task import Task, bind
from lm_lab.types import UserError

HORIZON = ("budget_flops", "tokens", "steps")  # settings of train that say how long a run is
MOST_PROCESSES = 4  # at most, that count; each takes a second to start
T = TypeVar("T")
Columns = dict[str, Any]
"""Columns of results.csv that are known before a run: params, params_body, params_total, tokens,
flops; and state_bytes, of parameters, gradients and optimizer. Empty where a run cannot be counted.
"""
Refused = Callable[[int, str], None]
"""Takes the number of a run that cannot be counted, and why."""


class Counter:
    """Counts the runs of a launch, each once."""

    def __init__(self, count: Callable[[Sequence[Planned]], dict[str, Columns]]) -> None:
        self._count = count
        self._known: dict[str, Columns] = {}

    def __call__(self, planned: Sequence[Planned]) -> dict[str, Columns]:
        """The columns of each run by its name."""
        if unknown := [run for run in planned if run.name not in self._known]:
            self._known |= self._count(unknown)
        return {run.name: self._known[run.name] for run in planned}


def count_here(
    planned: Sequence[Planned], refused: Refused = lambda number, why: None
) -> dict[str, Columns]:
    """The columns of each run by its name, counted in this process."""
    columns = count_configs([run.config for run in planned], refused)
    return {run.name: row for run, row in zip(planned, columns, strict=True)}


def count_apart(trusted: Collection[str], planned: Sequence[Planned]) -> dict[str, Columns]:
    """`count_here` in a few processes of their own, on the CPU: a launcher that used an accelerator
    itself would take memory from the workers.

    Raises UserError where a process ends without an answer.
    """
    programs: dict[str, list[Planned]] = {}
    for run in planned:
        programs.setdefault(_step_of(run.config), []).append(run)
    parts = [
        list(chain(*part))
        for part in _dealt([*programs.values()], min(len(usable_cores()), MOST_PROCESSES))
    ]
    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        return dict(chain(*pool.map(partial(_count_part, trusted), parts)))


def _dealt(cards: Sequence[T], hands: int) -> list[Sequence[T]]:
    return [part for hand in range(hands) if (part := cards[hand::hands])]


def _count_part(trusted: Collection[str], part: Sequence[Planned]) -> list[tuple[str, Columns]]:
    answer = subprocess.run(
        worker_command(trusted, "count"),
        input=json.dumps([run.config for run in part]),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it says nothing"]
        raise UserError(f"the sizes of the runs cannot be counted: {lines[-1]}")
    columns = json.loads(answer.stdout.splitlines()[-1])
    return [(run.name, row) for run, row in zip(part, columns, strict=True)]


def _step_of(config: Mapping[str, Any]) -> str:
    """A key that is equal for runs that differ in their length, seed and rates."""
    train = {key: value for key, value in config["train"].items() if key not in HORIZON}
    return program({**config, "train": train})


def count_configs(
    values: Iterable[Mapping[str, Any]], refused: Refused = lambda number, why: None
) -> list[Columns]:
    """The columns of complete configs. A step is counted once for all runs that differ in their
    length, seed and rates. A run that is wrong has none; `refused` is told why.
    """
    programs: dict[str, Program] = {}
    texts, rows = Texts(), []
    for number, config in enumerate(values):
        key = _step_of(config)
        try:
            task = bind(*configs.resolve(configs.wrap(config), stored=True), texts)
            if key not in programs:
                programs[key] = assemble(task)
            rows.append(_columns(task, programs[key]))
        except UserError as error:
            refused(number, str(error))
            rows.append({})
    return rows


def _columns(task: Task, counted: Program) -> Columns:
    state = counted.state
    steps = steps_of(task.experiment, counted.flops_per_step, counted.targets_per_step)
    return {
        "params": counted.params["matmul"],
        "params_body": counted.params["matmul_body"],
        "params_total": counted.params["total"],
        "tokens": steps * counted.targets_per_step,
        "flops": steps * counted.flops_per_step,
        "state_bytes": sum(state_bytes(state.params, state.opt_state, state.slots).values()),
    }
