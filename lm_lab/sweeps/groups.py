"""Groups runs of one program into populations, which compile once, and cuts them so that every
worker has something to do.
"""

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

from lm_lab.runs.sweep import Planned
from lm_lab.train.sections import BRANCH, flat, key_table

# Each unit compiles its program. With two a worker, short units already fill the end of the queue.
UNITS_PER_WORKER = 2


def group(planned: Sequence[Planned], workers: int) -> list[list[Planned]]:
    """All runs in units, each of one program; the most expensive unit first.

    Pure: a launch after an interruption makes the same units again, so that a run is computed
    beside the same other runs and ends in the same bits. One worker gets whole populations; several
    get parts of at most an even share.
    """
    programs: dict[str, list[Planned]] = {}
    for run in planned:
        programs.setdefault(program(run.config), []).append(run)
    share = sum(cost(run.config) for run in planned) / (UNITS_PER_WORKER * workers)
    units = []
    for runs in programs.values():
        parts = 1 if workers == 1 else math.ceil(sum(cost(run.config) for run in runs) / share)
        units += _cut(runs, min(parts, len(runs)))
    return sorted(units, key=lambda runs: -sum(cost(run.config) for run in runs))


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


def _cut(runs: list[Planned], parts: int) -> list[list[Planned]]:
    bounds = [len(runs) * part // parts for part in range(parts + 1)]
    return [runs[start:stop] for start, stop in itertools.pairwise(bounds)]
