"""Groups runs of one program into populations, which compile once, and cuts them so that every
worker has something to do.
"""

import heapq
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from lm_lab.contracts import UnitCosts
from lm_lab.runs.sweep import Planned
from lm_lab.train.sections import BRANCH, flat, key_table

# Each unit compiles its program. With two a worker, short units already fill the end of the queue.
UNITS_PER_WORKER = 2
# A run on k cores is about k**0.7 times as fast as on one: on 2 cores 1.5 times at width 16 and 2
# times from width 96 on, on 4 twice at width 64 (docs/speed.md).
SPEED_BY_CORES = 0.7


def by_program(planned: Sequence[Planned]) -> list[list[Planned]]:
    """The runs of each program."""
    programs: dict[str, list[Planned]] = {}
    for run in planned:
        programs.setdefault(program(run.config), []).append(run)
    return list(programs.values())


def divide(programs: Sequence[Sequence[Planned]], workers: int) -> list[list[Planned]]:
    """The runs of programs in units, each of one program; the most expensive unit first.

    Pure: a launch after an interruption makes the same units again, so that a run is computed
    beside the same other runs and ends in the same bits. One worker gets whole populations; several
    get parts of at most an even share.
    """
    share = sum(map(unit_cost, programs)) / (UNITS_PER_WORKER * workers)
    units = []
    for runs in programs:
        parts = 1 if workers == 1 else math.ceil(unit_cost(runs) / share)
        units += _cut(runs, min(parts, len(runs)))
    return sorted(units, key=unit_cost, reverse=True)


def best_workers(costs: UnitCosts, cores: int) -> int:
    """The number of workers, each with as many of the cores, with which a sweep ends first; the
    largest of equal ones.

    Many like runs end soonest with a core each. Where a few runs are most of a sweep, as those of
    the largest budget, the cores of the others would soon be idle.
    """

    def seconds(workers: int) -> float:
        used = cores // workers
        return sum(makespan(phase, workers) for phase in costs(workers)) / used**SPEED_BY_CORES

    shares = {cores // used for used in range(1, cores + 1)}
    return min(sorted(shares, reverse=True), key=seconds)


def makespan(units: Sequence[float], workers: int) -> float:
    """Seconds until units of so many seconds have ended, each given to the worker that is free
    first.
    """
    free = [0.0] * workers
    for seconds in units:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def program(config: dict[str, Any]) -> str:
    """A key that is equal for runs whose configs differ only in settings that are marked traced,
    and in where they begin.

    A traced setting that is None switches something off, which makes another program.
    """
    traced, every = key_table(config).traced, flat(config)
    rest = {
        key: value
        for key, value in every.items()
        if key not in BRANCH and (value is None or key not in traced)
    }
    return json.dumps(rest, sort_keys=True)


def cost(config: dict[str, Any]) -> float:
    """The cost of a run, in FLOPs if its budget is in FLOPs, else in tokens, without those of its
    trunk: for order and balance only.
    """
    return _horizon(config) - _given(config)


def unit_cost(runs: Sequence[Planned]) -> float:
    """The cost of runs that are computed together."""
    return sum(cost(run.config) for run in runs)


def _given(config: dict[str, Any]) -> float:
    """The tokens that the trunk of a run has read for it; not known in FLOPs."""
    train, length = config["train"], config["data"]["length"]
    known = not train.get("budget_flops")
    return float((train.get("branch_step") or 0) * train["batch_size"] * length) if known else 0.0


def own_share(config: dict[str, Any], tokens: int) -> float:
    """The share of its `tokens` that a run trains on itself; the rest its trunk has paid for."""
    given = (config["train"].get("branch_step") or 0) * config["train"]["batch_size"]
    return 1 - given * config["data"]["length"] / tokens


def _horizon(config: dict[str, Any]) -> float:
    train = config["train"]
    if train.get("budget_flops"):
        return float(train["budget_flops"])
    if train.get("tokens"):
        return float(train["tokens"])
    return float(train["steps"] * train["batch_size"] * config["data"]["length"])


def paid(config: dict[str, Any], tokens: float, flops: float) -> float:
    """The share of its cost that a run has paid after so many tokens and FLOPs."""
    made = flops if config["train"].get("budget_flops") else tokens - _given(config)
    return min(1.0, max(0.0, made) / cost(config))


def _cut(runs: Sequence[Planned], parts: int) -> list[list[Planned]]:
    bounds = [len(runs) * part // parts for part in range(parts + 1)]
    return [list(runs[start:stop]) for start, stop in itertools.pairwise(bounds)]
