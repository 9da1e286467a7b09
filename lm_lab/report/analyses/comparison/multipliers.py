"""How much compute the reference needs for the metric of another contender.

It is read off the line through the reference's cells, of heights (scale.py) against log compute.
For a likelihood the line is straight beyond its ends, and the interval includes seed noise and
other forms of the law: every E + k C^-g that the reference's cells do not reject, with E between 0
and its lowest loss. Other metrics follow no such law: nothing is read beyond the reference's cells,
and the interval is of seed noise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lm_lab.report.analyses.comparison.cells import Scatter
from lm_lab.report.analyses.comparison.records import Cell, Multiplier, Settings
from lm_lab.scaling.records import Estimate

Array = np.ndarray
FARTHEST = 1e4  # shares of compute above it, or below its inverse, are not reported
OFFSETS = np.linspace(0.0, 0.98, 50)  # values of E to try, as shares of the reference's lowest loss


class Line(NamedTuple):
    """The reference's cells: log FLOPs and heights [n], and the s.d. of the latter's noise."""

    log_flops: Array
    heights: Array
    error: Array


def multipliers(
    cells: Sequence[Cell], scatter: Scatter | None, settings: Settings
) -> tuple[Multiplier, ...]:
    """The multiplier of every cell of the other contenders, where it exists."""
    own = sorted((c for c in cells if c.arm == settings.reference), key=lambda c: c.flops)
    if len(own) < 2:
        return ()
    deviation, scale = 0.0 if scatter is None else scatter.deviation, settings.scale
    line = Line(
        np.log([cell.flops for cell in own]),
        scale.heights(np.array([cell.metric.value for cell in own])),
        deviation * np.sqrt([cell.variance for cell in own]),
    )
    laws = []
    if scatter is not None and scale.is_ratio:
        laws = _allowed(line, scatter.degrees, settings.level)
    made = []
    for cell in cells:
        height, reach = scale.height(cell.metric.value), math.log(cell.flops)
        value = _on_line(line.log_flops, line.heights[None], np.array([height]))[0] - reach
        extrapolated = not line.heights.min() <= height <= line.heights.max()
        if cell.arm == settings.reference or not abs(value) < math.log(FARTHEST):
            continue
        if extrapolated and not scale.is_ratio:
            continue
        interval = (None, None)
        if scatter is not None:
            error = deviation * math.sqrt(cell.variance)
            interval = _interval(line, laws, height, error, settings)
            interval = _bounded(value, interval, reach)
        share = Estimate(math.exp(value), *interval)
        made.append(Multiplier(cell.arm, cell.budget, share, extrapolated))
    return tuple(made)


def _interval(
    line: Line, laws: Sequence[float], height: float, error: float, settings: Settings
) -> tuple[float, float]:
    """The lowest and the highest log FLOPs for the height, over seed noise under every form."""
    random = np.random.default_rng(0)
    moved = line.heights + line.error * random.normal(size=(settings.draws, len(line.error)))
    heights = height + error * random.normal(size=settings.draws)
    ways = [_on_line(line.log_flops, moved, heights)]
    ways += [_on_law(line, moved, heights, offset) for offset in laws]
    tail = (1 - settings.level) / 2
    bounds = [np.quantile(way, [tail, 1 - tail], method="nearest") for way in ways]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _bounded(
    value: float, interval: tuple[float, float], reach: float
) -> tuple[float | None, float | None]:
    """The interval as shares; None for a bound beyond what is reported."""
    low, high = (bound - reach for bound in interval)
    farthest = math.log(FARTHEST)
    if low < -farthest:
        return None, None
    return math.exp(min(low, value)), math.exp(max(high, value)) if high < farthest else None


def _on_line(x: Array, y: Array, heights: Array) -> Array:
    """Where the polylines through (x [n], y [R n]) have the heights [R], straight beyond their
    ends; infinite where a polyline does not fall at every step.
    """
    place = np.clip((y >= heights[:, None]).sum(1) - 1, 0, len(x) - 2)
    rows = np.arange(len(y))
    falls = y[rows, place + 1] - y[rows, place]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x[place + 1] - x[place]) / falls
        found = x[place] + (heights - y[rows, place]) * slope
    return np.where((np.diff(y, axis=1) < 0).all(1), found, math.inf)


def _on_law(line: Line, moved: Array, heights: Array, offset: float) -> Array:
    """Where E + k C^-g through the moved cells [R n] has the heights; infinite if it never has."""
    reducible = np.exp(moved) - offset
    with np.errstate(divide="ignore", invalid="ignore"):
        slope, level, centre = _straight(line, np.log(reducible), offset)
        found = centre + (np.log(np.exp(heights) - offset) - level) / slope
    good = (reducible > 0).all(1) & (np.exp(heights) > offset) & (slope < 0)
    return np.where(good, found, math.inf)


def _straight(line: Line, y: Array, offset: float) -> tuple[Array, Array, float]:
    """Weighted least squares of y [R n] in log FLOPs: slopes [R], and levels [R] at the centre."""
    weights = (1 - offset * np.exp(-line.heights)) ** 2 / np.maximum(line.error, 1e-12) ** 2
    weights = weights / weights.sum()
    centre = float(weights @ line.log_flops)
    x = line.log_flops - centre
    return (y * x) @ weights / (x * x @ weights), y @ weights, centre


def _allowed(line: Line, degrees: int, level: float) -> list[float]:
    """The offsets E of laws that fit the reference's cells nearly as well as the best of them."""
    losses = np.exp(line.heights)
    offsets = OFFSETS * losses.min()
    misfits = []
    for offset in offsets:
        y = np.log(losses - offset)
        slope, height, centre = _straight(line, y[None], offset)
        fitted = offset + np.exp(height[0] + slope[0] * (line.log_flops - centre))
        misfits.append(float((((np.log(fitted) - line.heights) / line.error) ** 2).sum()))
    least = float(stats.t.ppf((1 + level) / 2, degrees)) ** 2
    return [offset for offset, misfit in zip(offsets, misfits) if misfit <= min(misfits) + least]
