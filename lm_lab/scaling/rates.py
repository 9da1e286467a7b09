"""The peak rate of lowest loss between those tried: a parabola in log rate through three of them.

The best of a coarse grid is off by up to half a step of it, by a part of its own for every size;
that part would stand in the valleys as noise.
"""

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Optimum(NamedTuple):
    """The rate of lowest loss. The losses tried, times `weights` f64[n], give the loss there."""

    rate: float
    weights: Array


def optimum(rates: Array, losses: Array) -> Optimum:
    """The optimum of n distinct rates, ascending, and their losses, in any unit.

    The parabola goes through the lowest loss and its two neighbours, so that the vertex is between
    these. At an end of the grid, and beside a rate that diverged (an infinite loss), it is the best
    rate tried.
    """
    best = int(np.argmin(losses))
    near = np.arange(best - 1, best + 2)
    tried = Optimum(float(rates[best]), np.eye(len(rates))[best])
    if best == 0 or best == len(rates) - 1 or not np.isfinite(losses[near]).all():
        return tried
    x = np.log(rates[near] / rates[best])
    curve = np.polynomial.polynomial.polyfit(x, losses[near], 2)
    if curve[2] <= 0:  # three equal losses
        return tried
    at = -curve[1] / (2 * curve[2])
    weights = np.zeros(len(rates))
    for i, place in enumerate(near):
        others = np.delete(x, i)
        weights[place] = np.prod((at - others) / (x[i] - others))
    return Optimum(float(rates[best] * np.exp(at)), weights)
