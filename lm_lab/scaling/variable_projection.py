"""Variable projection (2603.22339): searches alpha and beta, in which E, A and B are linear.

It minimises squares of the loss itself, not of its log: another objective and another algorithm
than approach 3's, as a check on it.
"""

import numpy as np
from scipy.optimize import minimize, nnls

from lm_lab.scaling.points import Points

Array = np.ndarray


def project(points: Points) -> Array:
    """theta f64[5] = (log E, log A, alpha, log B, beta) by least squares with E, A, B >= 0.

    Needs six points or more, which weigh as many as they have seeds. A coefficient of 0 has the log
    -inf: the data do not support that term.
    """
    x, y = np.log(points.params), np.log(points.tokens)
    centre = np.array([x.mean(), y.mean()])
    root = np.sqrt(points.runs / points.runs.mean())

    def linear(slopes: Array) -> tuple[Array, float]:
        terms = np.exp(-slopes * (np.stack([x, y], -1) - centre))
        basis = np.column_stack([np.ones(len(x)), terms])
        return nnls(root[:, None] * basis, root * points.loss)

    grid = [
        np.array([alpha, beta])
        for alpha in np.linspace(0.05, 1.5, 12)
        for beta in np.linspace(0.05, 1.5, 12)
    ]
    start = min(grid, key=lambda slopes: linear(slopes)[1])
    options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 2000}
    bounds = [(1e-3, 3.0)] * 2
    slopes = minimize(
        lambda s: linear(s)[1], start, method="Nelder-Mead", bounds=bounds, options=options
    ).x
    with np.errstate(divide="ignore"):
        e, a, b = np.log(linear(slopes)[0])
    return np.array([e, a + slopes[0] * centre[0], slopes[0], b + slopes[1] * centre[1], slopes[1]])
