"""The settings at which a contender was tried at a budget, and the metric that choosing the best
of them gives.

The metric is in heights (scale.py): the lower the better. The lowest of several noisy heights is
too low. Two things correct it. Where runs were evaluated on
two texts, one is for choosing and the other is reported. Both texts share the luck of the seeds; by
how much that is expected to lower the chosen height is simulated, and subtracted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lm_lab.report.analyses.comparison.arms import RATE
from lm_lab.report.stored import Row

Array = np.ndarray

WINDOW = 4.0  # a valley is fitted within this factor of the size with the lowest height


class Candidate(NamedTuple):
    """Runs that differ in their seed alone; a diverged one has infinite heights."""

    params: float
    rate: float
    runs: dict[float, Row]  # by seed

    @property
    def selection(self) -> float:
        """The mean height on the text for choosing."""
        return float(np.mean([run["selection"] for run in self.runs.values()]))

    @property
    def diverged(self) -> bool:
        """Whether a run of any seed diverged: such a candidate is not chosen."""
        return not all(math.isfinite(run["selection"]) for run in self.runs.values())

    @property
    def heights(self) -> Array:
        """The heights that are reported, one for each seed."""
        return np.array([run["height"] for run in self.runs.values()])


class Outcome(NamedTuple):
    """The height of a contender at its best settings, corrected for the luck of choosing; its
    variance in units of that of one run, and the correction (0 without noise).
    """

    height: float
    variance: float
    flattery: float


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


def usable(tried: Sequence[Candidate]) -> list[Candidate]:
    """Candidates of which no seed diverged, smallest sizes first."""
    return sorted((one for one in tried if not one.diverged), key=lambda one: one.params)


def sizes(tried: Sequence[Candidate]) -> list[Candidate]:
    """The best candidate of every size, smallest first."""
    best: dict[float, Candidate] = {}
    for one in usable(tried):
        known = best.get(one.params)
        if known is None or one.selection < known.selection:
            best[one.params] = one
    return list(best.values())


def outcome(tried: Sequence[Candidate], deviation: float | None, draws: int) -> Outcome:
    """The outcome of choosing among the candidates; `deviation` is the standard deviation of
    heights over seeds (None: unknown).
    """
    best = sizes(tried)
    weights = choice(best)
    value = float(weights @ [one.heights.mean() for one in best])
    variance = float(weights**2 @ [1 / len(one.runs) for one in best])
    flattery = 0.0 if deviation is None else _flattery(usable(tried), deviation, draws)
    return Outcome(value + flattery, variance, flattery)


def choice(best: Sequence[Candidate]) -> Array:
    """The weights of the sizes' heights whose sum is the chosen one: those of a parabola at its
    vertex, or 1 for the best size.
    """
    x = np.log([one.params for one in best])
    heights = np.array([one.selection for one in best])
    at = vertex(x, heights)
    if at is None:
        return (np.arange(len(best)) == np.argmin(heights)).astype(np.float64)
    near = window(x, heights)
    weights = np.zeros(len(best))
    weights[near] = np.linalg.pinv(np.vander(x[near] - at, 3, increasing=True))[0]
    return weights


def _flattery(tried: Sequence[Candidate], deviation: float, draws: int) -> float:
    """How much lower the chosen height is with noise than without, as the mean over simulated
    seeds; the measured heights stand for those without noise.
    """
    x, place = np.unique(np.log([one.params for one in tried]), return_inverse=True)
    measured = np.array([one.heights.mean() for one in tried])
    errors = deviation / np.sqrt([len(one.runs) for one in tried])
    noise = errors * np.random.default_rng(0).normal(size=(draws, len(tried)))
    by_size = [
        np.stack([values[:, place == size].min(1) for size in range(len(x))], 1)
        for values in (measured[None], measured + noise)
    ]
    near = window(x, by_size[0][0])
    exact, noisy = (_lowest(x, heights, near) for heights in by_size)
    return max(0.0, float(exact[0] - noisy.mean()))


def _lowest(x: Array, heights: Array, near: Array) -> Array:
    """The heights [R] of the vertices of parabolas through (x [n], heights [R n]) at those `near`;
    the lowest of the heights where there is none.
    """
    least = heights.min(1)
    if near.sum() < 3:
        return least
    at = vertices(x[near], heights[:, near])
    centre = x[near].mean()
    curves = np.linalg.pinv(np.vander(x[near] - centre, 3, increasing=True)) @ heights[:, near].T
    powers = np.stack([np.ones_like(at), at - centre, (at - centre) ** 2])
    return np.where(np.isnan(at), least, (curves * powers).sum(0))


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
    """Which of the sizes are near that with the lowest height."""
    return np.abs(x - x[np.argmin(heights)]) <= math.log(WINDOW) + 1e-9
