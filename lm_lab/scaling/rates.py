"""The value of a setting (a peak rate, a batch) of lowest loss between those tried.

It is the vertex of a parabola in the setting's logarithm. The best value of a coarse grid is off by
up to half a step, differently for every size, which would be noise in the valleys.
"""

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Optimum(NamedTuple):
    """The value of lowest loss. The losses tried, times `weights` f64[n], give the loss there; it
    lies `inside` the grid, or else is the best value tried.
    """

    value: float
    weights: Array
    inside: bool


def optimum(values: Array, losses: Array, around: int = 1) -> Optimum:
    """The optimum of n distinct values, ascending, and their losses, in any unit.

    The parabola is fitted to the lowest loss and `around` values on either side: with one it goes
    through these three, and its vertex lies between them. At an end of the grid, beside a value
    that diverged (an infinite loss), and where the vertex leaves the grid, it is the best tried.
    """
    best = int(np.argmin(losses))
    near = np.arange(max(0, best - around), min(len(values), best + around + 1))
    best_tried = Optimum(float(values[best]), np.eye(len(values))[best], False)
    if best in (0, len(values) - 1) or not np.isfinite(losses[near]).all():
        return best_tried
    x = np.log(values[near] / values[best])
    terms = np.linalg.pinv(np.stack([np.ones_like(x), x, x**2], -1))  # losses -> coefficients
    _, slope, curve = terms @ losses[near]
    vertex = -slope / (2 * curve) if curve > 0 else np.nan  # three equal losses have no curve
    if not np.log(values[0] / values[best]) < vertex < np.log(values[-1] / values[best]):
        return best_tried
    weights = np.zeros(len(values))
    weights[near] = np.array([1.0, vertex, vertex**2]) @ terms
    return Optimum(float(values[best] * np.exp(vertex)), weights, True)
