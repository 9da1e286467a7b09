"""Each contender at each budget, with the noise of seeds pooled over all."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lm_lab.report.analyses.comparison.arms import places
from lm_lab.report.analyses.comparison.candidates import (
    Candidate,
    Outcome,
    candidates,
    outcome,
    sizes,
    vertex,
    vertices,
    window,
)
from lm_lab.report.analyses.comparison.records import Cell, Settings, Size
from lm_lab.report.stored import Row, budget
from lm_lab.scaling.records import Estimate


class Place(NamedTuple):
    """A contender's settings at a budget: all, and the best of each size."""

    arm: str
    budget: float
    tried: list[Candidate]
    best: list[Candidate]


class Scatter(NamedTuple):
    """Standard deviation of heights (scale.py) over seeds, and its degrees of freedom."""

    deviation: float
    degrees: int


def find_places(runs: Mapping[str, Sequence[Row]]) -> list[Place]:
    """Every contender at every budget at which some size has a rate that no seed diverged at."""
    made = []
    for arm, compute in places(runs):
        tried = candidates([row for row in runs[arm] if budget(row) == compute])
        best = sizes(tried)
        if best:
            made.append(Place(arm, compute, tried, best))
    return made


def scatter(found: Sequence[Place]) -> Scatter | None:
    """The noise of seeds, pooled over the best settings of every size; None if no settings have two
    seeds.

    Other settings are left out, as a rate near divergence scatters more than those that are
    compared.
    """
    heights = [one.heights for place in found for one in place.best]
    degrees = sum(len(own) - 1 for own in heights)
    squares = sum(float(((own - own.mean()) ** 2).sum()) for own in heights)
    return Scatter(math.sqrt(squares / degrees), degrees) if degrees else None


def cell(place: Place, noise: Scatter | None, settings: Settings) -> Cell:
    """A contender at a budget, at its best settings."""
    best, scale = min(place.best, key=lambda one: one.selection), settings.scale
    found = outcome(place.tried, noise and noise.deviation, settings.draws)
    rows = list(best.runs.values())
    rates = sorted({one.rate for one in place.tried if one.params == best.params})
    every_size = [one.params for one in place.best]
    mean = {
        name: float(np.mean([row[name] for row in rows]))
        for name in ("params_total", "tokens", "flops", "seconds")
    }
    compiling = [row["compile_seconds"] for row in rows if row.get("compile_seconds") is not None]
    return Cell(
        arm=place.arm,
        budget=place.budget,
        params=best.params,
        rate=best.rate,
        rates=len(rates),
        rate_at_edge=len(rates) > 1 and best.rate in (rates[0], rates[-1]),
        size_at_edge=len(every_size) > 1 and best.params in (every_size[0], every_size[-1]),
        sizes=len(every_size),
        seeds=len(rows),
        compile_seconds=float(np.mean(compiling)) if len(compiling) == len(rows) else None,
        metric=_estimate(found, noise, settings),
        variance=found.variance,
        flattery=found.flattery,
        runs=_names(best),
        tried=tuple(
            Size(one.params, one.rate, scale.value(float(one.heights.mean())), _names(one))
            for one in place.best
        ),
        valley=_valley(place.best, noise, settings),
        **mean,
    )


def rates_at(cell: Cell, runs: Sequence[Row]) -> dict[float, tuple[float, tuple[str, ...]]]:
    """(mean height over seeds, names of these runs) by peak rate, at the cell's size and budget, in
    order of rates.

    Of other swept settings the best are taken; a rate that diverged is left out.
    """
    found: dict[float, list[Candidate]] = {}
    own = [row for row in runs if (budget(row), row["params"]) == (cell.budget, cell.params)]
    for one in candidates(own):
        if not one.diverged:
            found.setdefault(one.rate, []).append(one)
    best = {rate: min(same, key=lambda one: one.heights.mean()) for rate, same in found.items()}
    return {rate: (float(best[rate].heights.mean()), _names(best[rate])) for rate in sorted(best)}


def _names(one: Candidate) -> tuple[str, ...]:
    return tuple(str(row["name"]) for row in one.runs.values())


def _estimate(found: Outcome, noise: Scatter | None, settings: Settings) -> Estimate:
    """The metric with the interval of seed noise, by Student's t."""
    if noise is None:
        return settings.scale.estimate(found.height, None)
    half = float(stats.t.ppf((1 + settings.level) / 2, noise.degrees)) * noise.deviation
    return settings.scale.estimate(found.height, half * math.sqrt(found.variance))


def _valley(
    best: Sequence[Candidate], noise: Scatter | None, settings: Settings
) -> Estimate | None:
    """N at the vertex of the contender's own parabola; its interval from simulated seed noise,
    where nearly all simulations have a vertex.
    """
    x = np.log([one.params for one in best])
    heights = np.array([one.heights.mean() for one in best])
    at = vertex(x, heights)
    if at is None or noise is None:
        return None if at is None else Estimate(math.exp(at))
    near, random = window(x, heights), np.random.default_rng(0)
    errors = noise.deviation / np.sqrt([len(one.runs) for one in best])
    moved = heights + errors * random.normal(size=(settings.draws, len(best)))
    found = vertices(x[near], moved[:, near])
    tail = 50 * (1 - settings.level)
    if np.isfinite(found).mean() < 1 - tail / 100:
        return Estimate(math.exp(at))
    low, high = np.exp(np.nanpercentile(found, [tail, 100 - tail]))
    return Estimate(math.exp(at), float(low), float(high))
