"""Compute-optimal N and D on a surface L = E + A N^-alpha + B D^-beta, at any cost per token."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Cost = Callable[[Array], Array]
"""FLOPs to train on one token, by the number of parameters."""
LARGEST = 80.0  # log N: an upper bound, no model has 5e34 parameters


def six_n(params: Array) -> Array:
    """The convention C = 6ND (2001.08361): 6 FLOPs a parameter and token."""
    return 6.0 * np.asarray(params)


@dataclass(frozen=True)
class MeasuredCost:
    """FLOPs per token as counted in the runs: log(C / D) as a polynomial in log N.

    Beyond the data it is extrapolated as a straight line. Small models are far from C / D = 6N,
    because attention and embeddings do not grow as N does.
    """

    polynomial: np.polynomial.Polynomial
    low: float
    high: float

    @classmethod
    def of(cls, params: Array, tokens: Array, flops: Array) -> "MeasuredCost":
        """Fits a quadratic (a line or a constant if there are too few sizes), by least squares with
        Tukey's weights: a cell far off the others does not bend it.
        """
        x, y = np.log(params), np.log(flops / tokens)
        degree = min(2, len(np.unique(x)) - 1)
        domain = [x.min() - 1, x.max() + 1]
        slope = y - x - np.median(y - x)  # C / (N D) hardly varies: cells far off it get no weight
        weight = _tukey(slope, np.log(2.0))
        fit = np.polynomial.Polynomial.fit
        fitted = fit(x, y, degree, domain=domain, w=np.sqrt(weight))
        for _ in range(20):
            left = y - fitted(x)
            weight = _tukey(left, 9.0 * np.median(np.abs(left)) + 1e-9)
            fitted = fit(x, y, degree, domain=domain, w=np.sqrt(weight))
        return cls(fitted, float(x.min()), float(x.max()))

    def __call__(self, params: Array) -> Array:
        x = np.log(params)
        inside = np.clip(x, self.low, self.high)
        return np.exp(self.polynomial(inside) + self.polynomial.deriv()(inside) * (x - inside))


def _tukey(residuals: Array, scale: float) -> Array:
    """Tukey's weights: 1 near 0, falling to (nearly) none at `scale`."""
    return np.maximum(1 - np.square(residuals / scale), 1e-6) ** 2


def optimal_params(theta: Array, flops: Array, cost: Cost = six_n) -> Array:
    """N* that minimises the loss at a compute of `flops`.

    `theta` [..., 5] holds (log E, log A, alpha, log B, beta) and broadcasts against flops [G]: the
    result is [..., G]. Found by bisection on the sign of dL / dlog N. With cost(N) = 6N it equals
    Hoffmann's closed form G (C / 6)^a (2203.15556, eq. 4). NaN if the loss is monotonic from one
    parameter to 1e34, so that the surface has no optimum.
    """
    _, a, alpha, b, beta = np.moveaxis(np.asarray(theta)[..., None], -2, 0)
    log_flops = np.log(flops)
    low = np.zeros(np.broadcast_shapes(a.shape, log_flops.shape))
    high = low + LARGEST
    for _ in range(60):
        x = (low + high) / 2
        log_cost, slope = _log_cost(cost, x)
        tokens_gain = b - beta * (log_flops - log_cost) + np.log(np.maximum(beta * slope, 1e-300))
        too_small = a - alpha * x + np.log(np.maximum(alpha, 1e-300)) > tokens_gain
        low, high = np.where(too_small, x, low), np.where(too_small, high, x)
    return np.exp(np.where((low > 0) & (high < LARGEST), (low + high) / 2, np.nan))


def _log_cost(cost: Cost, x: Array, step: float = 1e-4) -> tuple[Array, Array]:
    above, below = np.log(cost(np.exp(x + step))), np.log(cost(np.exp(x - step)))
    return (above + below) / 2, (above - below) / (2 * step)


def exponent_over(flops: Array, values: Array) -> Array:
    """Slope [...] of log values [..., G] against log flops [G], from the first to the last."""
    return np.log(values[..., -1] / values[..., 0]) / np.log(flops[-1] / flops[0])
