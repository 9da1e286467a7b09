"""Which contenders differ significantly at each budget, and whether small budgets order them as
large ones do.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from lm_lab.report.analyses.comparison.cells import Scatter
from lm_lab.report.analyses.comparison.records import (
    Cell,
    Decision,
    Noise,
    Pair,
    Settings,
    ranked,
)
from lm_lab.report.analyses.comparison.scale import Scale
from lm_lab.scaling.records import Estimate

Array = np.ndarray
DRAWS = 20_000  # simulations of the largest of all pairs' differences


def compare(
    cells: Sequence[Cell], scatter: Scatter | None, settings: Settings
) -> tuple[tuple[Pair, ...], Noise | None]:
    """All pairs of contenders at all budgets, with simultaneous intervals, and the noise.

    The intervals are those of the largest t of all pairs, simulated: at one budget with equal
    numbers of seeds they are Tukey's. With probability `level` all of them hold.
    """
    pairs = [
        (one, other)
        for budget in sorted({cell.budget for cell in cells})
        for one, other in itertools.combinations(ranked(cells, budget, settings), 2)
    ]
    scale = settings.scale
    if scatter is None:
        return tuple(_pair(one, other, None, scale) for one, other in pairs), None
    critical = _critical(cells, pairs, scatter.degrees, settings.level)
    errors = [_error(one, other) * scatter.deviation for one, other in pairs]
    tail = (1 - settings.level) / 2
    low, high = stats.chi2.ppf([1 - tail, tail], scatter.degrees)
    bounds = [scatter.deviation * math.sqrt(scatter.degrees / bound) for bound in (low, high)]
    noise = Noise(
        Estimate(scatter.deviation, *bounds), scatter.degrees, critical, critical * min(errors)
    )
    made = [
        _pair(one, other, critical * error, scale) for (one, other), error in zip(pairs, errors)
    ]
    return tuple(made), noise


def decisions(
    cells: Sequence[Cell], pairs: Sequence[Pair], scatter: Scatter | None, settings: Settings
) -> tuple[Decision, ...]:
    """How each smaller budget orders those contenders that are at the largest budget, too."""
    budgets = sorted({cell.budget for cell in cells})
    random, scale = np.random.default_rng(0), settings.scale

    def height(cell: Cell) -> float:
        return scale.height(cell.metric.value)

    made = []
    for budget in budgets[:-1]:
        here = {cell.arm: cell for cell in cells if cell.budget == budget}
        there = {cell.arm: cell for cell in cells if cell.budget == budgets[-1]}
        arms = [arm for arm in here if arm in there]
        if len(arms) < 2:
            continue
        heights = [np.array([[height(of[arm]) for arm in arms]]) for of in (here, there)]
        shares = _agreeing(*heights)
        interval = (None, None)
        if scatter is not None:
            draws = random.normal(size=(2, settings.draws, len(arms))) * scatter.deviation
            errors = [np.sqrt([of[arm].variance for arm in arms]) for of in (here, there)]
            moved = _agreeing(*(y + draw * e for y, draw, e in zip(heights, draws, errors)))
            tail = 50 * (1 - settings.level)
            low, high = np.percentile(moved, [tail, 100 - tail])
            interval = (min(float(low), shares[0]), max(float(high), shares[0]))
        told_apart = [
            pair
            for pair in pairs
            if pair.budget == budgets[-1] and pair.told and pair.other in here and pair.one in here
        ]
        agreeing = [
            pair for pair in told_apart if height(here[pair.one]) < height(here[pair.other])
        ]
        made.append(
            Decision(
                budget,
                budgets[-1],
                len(arms) * (len(arms) - 1) // 2,
                Estimate(float(shares[0]), *interval),
                len(told_apart),
                len(agreeing),
            )
        )
    return tuple(made)


def _pair(one: Cell, other: Cell, half: float | None, scale: Scale) -> Pair:
    value = scale.height(other.metric.value) - scale.height(one.metric.value)
    bounds = (None, None) if half is None else (value - half, value + half)
    told = None if half is None else abs(value) > half
    return Pair(one.budget, one.arm, other.arm, Estimate(value, *bounds), told)


def _error(one: Cell, other: Cell) -> float:
    """The standard error of a difference, in units of the noise of one run."""
    return math.sqrt(one.variance + other.variance)


def _critical(
    cells: Sequence[Cell], pairs: Sequence[tuple[Cell, Cell]], degrees: int, level: float
) -> float:
    """The quantile of the largest of all pairs' |t|, with noise that is estimated by `degrees`."""
    random = np.random.default_rng(0)
    place = {(cell.arm, cell.budget): number for number, cell in enumerate(cells)}
    errors = random.normal(size=(DRAWS, len(cells))) * np.sqrt([cell.variance for cell in cells])
    largest = np.zeros(DRAWS)
    for one, other in pairs:
        columns = [place[each.arm, each.budget] for each in (one, other)]
        apart = np.abs(errors[:, columns[0]] - errors[:, columns[1]]) / _error(one, other)
        largest = np.maximum(largest, apart)
    scale = np.sqrt(random.chisquare(degrees, DRAWS) / degrees)
    return float(np.quantile(largest / scale, level))


def _agreeing(here: Array, there: Array) -> Array:
    """The share of pairs [R] that two sets of heights [R arms] order alike."""
    first, second = np.triu_indices(here.shape[1], 1)
    signs = [np.sign(values[:, first] - values[:, second]) for values in (here, there)]
    return (signs[0] == signs[1]).mean(1)
