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

    Beyond the data it goes on as a straight line. Small models are far from C / D = 6N, because
    attention and embeddings do not grow as N does.
    """

    polynomial: np.polynomial.Polynomial
    low: float
    high: float

    @classmethod
    def of(cls, params: Array, tokens: Array, flops: Array) -> "MeasuredCost":
        """Fits a quadratic by least squares (a line or a constant if there are too few sizes)."""
        x = np.log(params)
        degree = min(2, len(np.unique(x)) - 1)
        fitted = np.polynomial.Polynomial.fit(
            x, np.log(flops / tokens), degree, domain=[x.min() - 1, x.max() + 1]
        )
        return cls(fitted, float(x.min()), float(x.max()))

    def __call__(self, params: Array) -> Array:
        x = np.log(params)
        inside = np.clip(x, self.low, self.high)
        return np.exp(self.polynomial(inside) + self.polynomial.deriv()(inside) * (x - inside))


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
