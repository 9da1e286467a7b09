"""Which sizes of a budget its valley is fitted to: a parabola is only valid near the lowest
loss.
"""

import numpy as np

from lm_lab.scaling.points import Points

Array = np.ndarray
WINDOW = 8.0  # a factor in N each way about the lowest loss
NEEDED = 5  # sizes: three coefficients, and two that show the noise


def window(points: Points, factor: float = WINDOW) -> tuple[Array, float]:
    """Indices, in order of size, of one budget's points in the window, and the factor used.

    The window reaches a `factor` in N each way from the point of lowest loss. With fewer than five
    sizes in it, it is widened to the nearest five (or all that there are) and to one on either side
    if there is one: the factor returned says how far it then reaches, and is `factor` or more.
    """
    order = np.argsort(points.params, kind="stable")
    x, loss = np.log(points.params[order]), points.loss[order]
    away = np.abs(x - x[np.argmin(loss)])
    reach = max(np.log(factor), np.sort(away)[min(NEEDED, len(x)) - 1])
    for side in (x < x[np.argmin(loss)], x > x[np.argmin(loss)]):
        reach = max(reach, away[side].min(initial=np.inf) if side.any() else 0.0)
    inside = away <= reach + 1e-9
    return order[inside], float(np.exp(reach))
