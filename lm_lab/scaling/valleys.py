"""Approach 2 (2203.15556): a parabola of loss in log N at each budget, with vertex N*, D*, L*.

D* and the compute at the vertex are interpolated between the budget's runs (log D and log C
straight in log N), because C = 6ND does not hold for small models. The vertex is biased if alpha !=
beta and the grid is wide or off-centre (2603.22339): read it beside approach 3.
"""

from dataclasses import dataclass

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Refusal, Valley

Array = np.ndarray


@dataclass(frozen=True)
class ValleyFit:
    """A valley and its bootstrap resamples."""

    valley: Valley
    vertex: Array  # f64[4]: log N*, log D*, log C, log L*
    # f64[R 4], the vertex of each resample, NaN if refused; None if there are too few points for a
    # residual, and so for an interval
    resampled: Array | None


def fit_valley(
    points: Points, level: float, resamples: int, rng: np.random.Generator
) -> ValleyFit | Refusal:
    """Fits the valley of one budget, whose points are one a size; these points are resampled.

    Refuses fewer than three sizes, a parabola that opens downwards, and a vertex outside the sizes
    of the data.
    """
    points = points.where(np.argsort(points.params))
    where = f"budget {points.budget[0]:.3g}" if len(points) else "no budget"
    if len(points) < 3:
        return Refusal("too few points", where, f"{len(points)} sizes; a parabola needs three")
    x = np.log(points.params)
    centre, scale = x.mean(), x.std()
    scaled = (x - centre) / scale
    (curve,) = parabolas(scaled, points.loss, np.ones((1, len(x))))
    refusal = _no_vertex(curve, scaled, where, points.params)
    if refusal:
        return refusal
    resampled = None
    if len(x) > 3:
        resampled = _vertices(
            parabolas(scaled, points.loss, _weights(len(x), resamples, rng)), scaled, points
        )
    (vertex,) = _vertices(curve[None], scaled, points)
    params, tokens, flops, loss = (
        estimate(np.exp(vertex[k]), None if resampled is None else np.exp(resampled[:, k]), level)
        for k in range(4)
    )
    residual = points.loss - np.polynomial.polynomial.polyval(scaled, curve)
    valley = Valley(
        budget=float(points.budget[0]),
        flops=flops.value,
        params=params,
        tokens=tokens,
        loss=loss,
        centre=float(np.exp(centre)),
        coefficients=(float(curve[0]), float(curve[1] / scale), float(curve[2] / scale**2)),
        lowest_params=float(points.params[0]),
        highest_params=float(points.params[-1]),
        points=len(x),
        noise=float(np.sqrt(np.sum(residual**2) / (len(x) - 3))) if len(x) > 3 else None,
    )
    return ValleyFit(valley, vertex, resampled)


def parabolas(x: Array, y: Array, weights: Array) -> Array:
    """Least-squares (c0, c1, c2) [R 3] of y = c0 + c1 x + c2 x^2, for each row of weights [R n]."""
    powers = np.stack([np.ones_like(x), x, x * x], -1)
    normal = np.einsum("rn,ni,nj->rij", weights, powers, powers)
    moments = np.einsum("rn,ni,n->ri", weights, powers, y)
    return np.linalg.solve(normal, moments[..., None])[..., 0]


def _weights(count: int, resamples: int, rng: np.random.Generator) -> Array:
    """How often each of n points is in each resample [R n], with at least three distinct points.

    A resample with fewer is replaced: no parabola goes through two points.
    """
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    while len(poor := np.flatnonzero(np.count_nonzero(weights, axis=1) < 3)):
        weights[poor] = rng.multinomial(count, np.full(count, 1 / count), size=len(poor))
    return weights.astype(np.float64)


def _vertices(curves: Array, scaled: Array, points: Points) -> Array:
    """log N*, log D*, log C, log L* [R 4] of parabolas [R 3]; NaN: no vertex in the data."""
    c0, c1, c2 = curves.T
    with np.errstate(divide="ignore", invalid="ignore"):
        at = -c1 / (2 * c2)
        loss = c0 + c1 * at / 2
        good = (c2 > 0) & (at >= scaled[0]) & (at <= scaled[-1]) & (loss > 0)
    at = np.where(good, at, np.nan)
    logs = [
        np.interp(at, scaled, np.log(values))
        for values in (points.params, points.tokens, points.flops)
    ]
    return np.stack([*logs, np.log(np.where(good, loss, np.nan))], -1)


def _no_vertex(curve: Array, scaled: Array, where: str, params: Array) -> Refusal | None:
    if curve[2] <= 0:
        return Refusal(
            "wrong curvature",
            where,
            "the parabola opens downwards: widen the range of sizes or add seeds",
        )
    at = -curve[1] / (2 * curve[2])
    if not scaled[0] <= at <= scaled[-1]:
        side, remedy = ("below", "smaller") if at < scaled[0] else ("above", "larger")
        message = (
            f"the vertex lies {side} the sizes {params[0]:.3g} to {params[-1]:.3g}: add {remedy} "
            "models"
        )
        return Refusal("vertex outside the data", where, message)
    return None
