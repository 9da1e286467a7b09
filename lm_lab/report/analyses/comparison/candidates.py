"""The settings at which a contender was tried at a budget, and what choosing among them comes to.

The lowest of several noisy losses is too low. So what is chosen on one part of the evidence is
reported on another: of every seed the loss at the settings that the other seeds choose (and, where
runs were judged by two texts, choose on one of them).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lm_lab.report.analyses.comparison.arms import RATE
from lm_lab.report.stored import Row

Array = np.ndarray

WINDOW = 4.0  # a valley is fitted within this factor of the size with the lowest loss


class Candidate(NamedTuple):
    """Runs that differ in their seed alone; a diverged one has infinite losses."""

    params: float
    rate: float
    runs: dict[float, Row]  # by seed

    def log_selection(self, seeds: Sequence[float]) -> float:
        """Mean log loss to choose by, over those of the seeds that it has; infinite for none."""
        known = [math.log(self.runs[seed]["selection"]) for seed in seeds if seed in self.runs]
        return float(np.mean(known)) if known else math.inf

    @property
    def diverged(self) -> bool:
        """Whether any seed did: then it is not chosen."""
        return not all(math.isfinite(run["selection"]) for run in self.runs.values())

    @property
    def log_bits(self) -> Array:
        """The log losses that are reported, a seed each."""
        return np.log([run["bits_per_byte"] for run in self.runs.values()])


class Outcome(NamedTuple):
    """What a contender's choosing comes to: mean log loss over seeds, its variance in units of that
    of one run, and whether other seeds chose.
    """

    log_bits: float
    variance: float
    seeds_apart: bool


def candidates(rows: Sequence[Row]) -> list[Candidate]:
    """Groups a contender's runs at a budget by all that was swept but the seed."""
    grouped: dict[tuple, dict[float, Row]] = {}
    for row in rows:
        swept = tuple(value for key, value in row.items() if "." in key)
        grouped.setdefault((row["params"], swept), {})[row.get("seed") or 0] = row
    return [
        Candidate(params, next(iter(runs.values()))[RATE], runs)
        for (params, _), runs in grouped.items()
    ]


def sizes(tried: Sequence[Candidate], seeds: Sequence[float]) -> list[Candidate]:
    """The best candidate of every size, smallest first, by what these seeds have to choose by."""
    best: dict[float, Candidate] = {}
    for one in tried:
        height = one.log_selection(seeds)
        if not one.diverged and math.isfinite(height):
            known = best.get(one.params)
            if known is None or height < known.log_selection(seeds):
                best[one.params] = one
    return [best[params] for params in sorted(best)]


def outcome(tried: Sequence[Candidate]) -> Outcome:
    """What choosing comes to; where no seed is left to choose, all choose and are reported."""
    values, variances = [], []
    seeds = sorted({seed for one in tried for seed in one.runs})
    for seed in seeds:
        others = [other for other in seeds if other != seed]
        best = sizes([one for one in tried if seed in one.runs], others)
        if best:
            weights = choice(best, others)
            values.append(weights @ np.log([one.runs[seed]["bits_per_byte"] for one in best]))
            variances.append(weights @ weights)
    if values:
        return Outcome(float(np.mean(values)), float(sum(variances)) / len(values) ** 2, True)
    best = sizes(tried, seeds)
    weights = choice(best, seeds)
    value = weights @ [one.log_bits.mean() for one in best]
    return Outcome(float(value), float(weights**2 @ [1 / len(one.runs) for one in best]), False)


def choice(best: Sequence[Candidate], seeds: Sequence[float]) -> Array:
    """The weights with which the losses of the sizes make the loss of the one chosen: those of a
    parabola at its vertex, or 1 for the size that is best.
    """
    x = np.log([one.params for one in best])
    heights = np.array([one.log_selection(seeds) for one in best])
    at = vertex(x, heights)
    if at is None:
        return (np.arange(len(best)) == np.argmin(heights)).astype(np.float64)
    near = window(x, heights)
    powers = np.vander(x[near] - at, 3, increasing=True)
    weights = np.zeros(len(best))
    weights[near] = np.linalg.pinv(powers)[0]  # the parabola's height where x is at the vertex
    return weights


def vertex(x: Array, heights: Array) -> float | None:
    """Where the parabola through sizes near the lowest has its own lowest point, in log N; None
    with fewer than three of them, and where that is not among them.
    """
    near = window(x, heights)
    if near.sum() < 3:
        return None
    [at] = vertices(x[near], heights[None, near])
    return None if math.isnan(at) else float(at)


def vertices(x: Array, heights: Array) -> Array:
    """Where the parabolas through (x [n], heights [R n]) have their lowest points [R]; NaN where
    that is not among the x.
    """
    centre = x.mean()
    _, slope, curvature = np.linalg.pinv(np.vander(x - centre, 3, increasing=True)) @ heights.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = centre - slope / (2 * curvature)
    return np.where((curvature > 0) & (at >= x.min()) & (at <= x.max()), at, math.nan)


def window(x: Array, heights: Array) -> Array:
    """Which of the sizes are near that with the lowest loss."""
    return np.abs(x - x[np.argmin(heights)]) <= math.log(WINDOW) + 1e-9
