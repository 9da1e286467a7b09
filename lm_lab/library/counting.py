"""Counts the sizes and FLOPs of runs that have not begun, with no array allocated."""

import json
import os
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from lm_lab import config as configs
from lm_lab.data.text import Texts
from lm_lab.library.workers import worker_command
from lm_lab.runs.sweep import Planned
from lm_lab.sweeps.groups import program
from lm_lab.train.program import assemble
from lm_lab.train.task import bind
from lm_lab.types import UserError

Columns = dict[str, Any]
"""Columns of results.csv that are known before a run: params, params_body, params_total, tokens,
flops; empty where the run cannot be counted.
"""


def count_here(planned: Sequence[Planned]) -> dict[str, Columns]:
    """The columns of each run by its name, counted in this process, once for each program."""
    columns = count_configs([run.config for run in planned])
    return {run.name: own for run, own in zip(planned, columns, strict=True)}


def count_apart(trusted: Collection[str], planned: Sequence[Planned]) -> dict[str, Columns]:
    """`count_here` in a process of its own, on the CPU: a launcher that touched an accelerator
    would keep its memory from the workers.

    Raises UserError where that process ends without an answer.
    """
    answer = subprocess.run(
        worker_command(trusted, "count"),
        input=json.dumps([run.config for run in planned]),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it says nothing"]
        raise UserError(f"the sizes of the runs cannot be counted: {lines[-1]}")
    columns = json.loads(answer.stdout.splitlines()[-1])
    return {run.name: own for run, own in zip(planned, columns, strict=True)}


def count_configs(values: Iterable[Mapping[str, Any]]) -> list[Columns]:
    """The columns of complete configs."""
    counted: dict[str, Columns] = {}
    texts, found = Texts(), []
    for config in values:
        key = program(dict(config))
        if key not in counted:
            counted[key] = _count(config, texts)
        found.append(counted[key])
    return found


def _count(values: Mapping[str, Any], texts: Texts) -> Columns:
    try:
        task = bind(*configs.resolve(configs.wrap(values), stored=True), texts)
        made = assemble(task)
    except UserError:
        return {}  # the run will say why when it begins
    return {
        "params": made.params["matmul"],
        "params_body": made.params["matmul_body"],
        "params_total": made.params["total"],
        "tokens": made.steps * made.targets_per_step,
        "flops": made.steps * made.flops_per_step,
    }
