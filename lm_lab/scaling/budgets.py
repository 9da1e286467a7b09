"""Joins compute budgets that differ by rounding alone: their runs belong to one valley."""

import numpy as np

from lm_lab.scaling.records import Caution

Array = np.ndarray
TOLERANCE = 0.02
"""Budgets of runs that agree within this share are one: whole steps, rounded tables and digitised
figures differ by so much. It moves a loss by under 0.3 %, as the loss falls no faster than
C^-0.15.
"""
ROUNDING = 1e-12  # smaller relative differences are floating point, and joined without a caution
APART = 5  # a group of joined budgets must be this many tolerances from its neighbours


def joined_budgets(budget: Array) -> tuple[Array, tuple[Caution, ...]]:
    """Budgets f64[n] with those of one group replaced by its median, and a caution that says what
    was joined.

    A group spans at most TOLERANCE and lies APART times that from the next budget, so that a
    continuum of budgets (each run with its own) is left alone.
    """
    values = np.unique(budget)
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive) < 2:
        return budget, ()
    steps = np.diff(np.log(positive))
    groups = np.split(positive, np.flatnonzero(steps > np.log1p(TOLERANCE)) + 1)
    joined, count, medians = budget.copy(), 0, []
    for i, group in enumerate(groups):
        before = groups[i - 1][-1] if i else 0.0
        after = groups[i + 1][0] if i + 1 < len(groups) else np.inf
        room = 1 + APART * TOLERANCE
        alone = group[0] >= before * room and after >= group[-1] * room
        if len(group) > 1 and group[-1] <= group[0] * (1 + TOLERANCE) and alone:
            middle = float(np.median(budget[(budget >= group[0]) & (budget <= group[-1])]))
            joined[(budget >= group[0]) & (budget <= group[-1])] = middle
            count += len(group)
            medians.append(middle)
    spread = max((_spread(budget[joined == middle], middle) for middle in medians), default=0.0)
    if spread < ROUNDING:
        return joined, ()
    message = (
        f"{count} budgets that agree within {spread:.1g} were read as {len(medians)} (at most "
        f"{TOLERANCE:.0%} apart): {', '.join(f'{middle:.4g}' for middle in medians[:8])}"
        f"{', ...' if len(medians) > 8 else ''} FLOPs"
    )
    return joined, (Caution("budgets joined", "the budgets", message),)


def _spread(group: Array, middle: float) -> float:
    return float(np.max(np.abs(group / middle - 1)))


def is_same(budget: Array, other: float) -> Array:
    """Which budgets [n] are `other` but for rounding."""
    return np.abs(np.log(np.maximum(budget, 1e-300) / other)) <= np.log1p(TOLERANCE)
