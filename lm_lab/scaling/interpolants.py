"""Other curves through a budget's points, variants of approach 2: a cubic, and Akima's spline."""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from lm_lab.scaling.points import Points
from lm_lab.scaling.valleys import compute_at
from lm_lab.scaling.windows import window

Array = np.ndarray
Curve = Callable[[Array], Array]
FEWEST = 5


def cubic(x: Array, y: Array) -> Curve:
    """The least-squares cubic."""
    return np.polynomial.Polynomial.fit(x, y, 3)


def akima(x: Array, y: Array) -> Curve:
    """Akima's spline, which passes through every point (as 2406.19146 interpolates)."""
    return Akima1DInterpolator(x, y)


def vertex(points: Points, fit: Callable[[Array, Array], Curve]) -> Array | None:
    """log N*, log D*, log C [3] at the lowest point of a curve through one budget's window.

    None with fewer than five sizes, or if the curve is lowest at an end of the window.
    """
    points = points.where(np.argsort(points.params, kind="stable"))
    inside = points.where(window(points)[0])
    if len(inside) < FEWEST:
        return None
    x = np.log(inside.params)
    fine = np.linspace(x[0], x[-1], 2001)
    heights = fit(x, np.log(inside.loss))(fine)
    lowest = int(np.argmin(heights))
    if lowest in (0, len(fine) - 1):
        return None
    flops, tokens = compute_at(points, fine[lowest : lowest + 1])
    return np.array([fine[lowest], tokens[0], flops[0]])
