"""The shape of a valley: a parabola in log N, or one that leans to a side."""

import numpy as np

Array = np.ndarray


def skewed_square(x: Array | float, skew: Array | float) -> Array:
    """q(x) = 2 (exp(s x) - 1 - s x) / s^2 of the skew s; its limit at s = 0 is x^2. Broadcasts.

    At fixed C = 6ND, the surface E + A N^-alpha + B D^-beta has the same ratio L''' / L'' = beta -
    alpha at the minimum of each budget, as functions of log N. q is the function whose ratio is s
    everywhere, so one skew serves all budgets.
    """
    x, skew = np.asarray(x, np.float64), np.asarray(skew, np.float64)
    z = x * skew
    series = x * x * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6))))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exact = 2 * (np.expm1(z) - z) / np.square(skew)
    return np.where(np.abs(z) < 1e-2, series, exact)


def lowest_point(ratio: Array, skew: Array | float) -> Array:
    """Where `ratio` x + q(x) is lowest, given `ratio` = c1 / c2; NaN if it falls without end."""
    argument = -np.asarray(ratio, np.float64) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.log1p(skew * argument) / skew
    return np.where(np.abs(skew * argument) < 1e-9, argument, exact)
