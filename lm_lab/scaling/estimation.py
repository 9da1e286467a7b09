"""Fits a curve of any form robustly, with intervals.

The fit is an M-estimate. All starts are scored at once; the best are minimised by near-L1 Huber
losses, which give the scale s of the noise from the residuals that the parameters did not absorb;
then a Huber loss with the threshold 2 s gives the final fit (99 % of least squares' efficiency on
Gaussian noise, while the influence of any point is bounded). Intervals come from simulated tables,
fitted again: the law with Gaussian noise of the M-estimate's own variance, itself drawn by its
chi-square distribution. So they are Student's in a linear law, and hold for five points as for
fifty.

A fault in a point of high leverage moves the law and leaves next to no residual, so that no
M-estimate bounds its influence. Where the other points reject such a point, half of the draws are
those of the fit without it: the interval holds both answers.

Points whose errors share causes (two crossings of one curve) have a `spread`: simulated tables have
that dependence, and the residuals' squares are divided by what it lets them be.

A table's column "runs" (seeds that a row is the mean of) is its weight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy import stats

from lm_lab.scaling.contract import Array, Columns
from lm_lab.scaling.descent import Model, complex_step, descend, huber_losses

NEAR_L1 = 1e-3  # Huber threshold of the first descent, as in 2203.15556
EFFICIENT = 2.0  # Huber threshold of the last, in noise s.d.
DECISIVE = 0.75  # leverage: this share of a point's error goes into the law, not into its residual
CANDIDATE = 0.25  # leverage in a law that the point may have bent; at most 4 P points have it
DOUBTED = 0.05  # level of the test by which the other points reject a decisive one
BEST_STARTS, FINALISTS = 12, 3  # of all starts, and of the best after some steps


class Curve(NamedTuple):
    """A law in coordinates that are easy to fit.

    x holds the logs of the input columns less their means, f64[n] each; `centre` these means. theta
    is a sequence of P arrays that broadcast against them, complex in derivatives: `predict` may use
    analytic functions alone.
    """

    inputs: tuple[str, ...]
    predict: Callable[[Sequence[Array], Columns], Array]  # theta, x -> the target
    parameters: tuple[tuple[str, str], ...]  # names and units of the published parameters
    # theta, centre -> one array a published parameter
    publish: Callable[[Sequence[Array], Mapping[str, float]], Sequence[Array]]
    # x, target [n] -> thetas to start from [S P]
    starts: Callable[[Columns, Array], Array]
    low: tuple[float, ...]
    high: tuple[float, ...]
    relative: bool = True  # whether the noise is in log(target)
    # column -> the column whose centre it shares (where ratios of columns matter), or itself for a
    # centre of 0 (where its absolute size matters)
    centres: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Data:
    """The points of a fit: x as in Curve, `scaled` the target (its log where relative), [n]."""

    curve: Curve
    name: str
    x: Columns
    centre: Mapping[str, float]
    target: Array
    scaled: Array
    weight: Array  # of mean 1
    # [n K]: the points' errors as sums of K independent ones of unit variance, of mean variance 1;
    # None: points have errors of their own
    spread: Array | None = None

    @classmethod
    def of(cls, curve: Curve, name: str, columns: Columns, spread: Array | None = None) -> "Data":
        logs = {key: np.log(columns[key]) for key in curve.inputs}
        means = {key: float(log.mean()) for key, log in logs.items()}
        centre = {key: means[curve.centres.get(key, key)] for key in curve.inputs}
        centre |= {key: 0.0 for key, of in curve.centres.items() if key == of}
        x = {key: log - centre[key] for key, log in logs.items()}
        target, runs = columns[name], columns["runs"]
        scaled = np.log(target) if curve.relative else target
        return cls(curve, name, x, centre, target, scaled, runs / runs.mean(), spread)

    @property
    def model(self) -> Model:
        def predict(theta: Array) -> Array:
            value = evaluate(self.curve, theta, self.x)
            return np.log(value) if self.curve.relative else value

        low, high = np.array(self.curve.low), np.array(self.curve.high)
        return Model(predict, complex_step(predict), low, high)

    @property
    def freedom(self) -> int:
        return len(self.target) - len(self.curve.low)

    def without(self, row: int) -> "Data":
        """The other points, in the same coordinates."""
        target, scaled, weight = (
            np.delete(each, row) for each in (self.target, self.scaled, self.weight)
        )
        x = {key: np.delete(column, row) for key, column in self.x.items()}
        spread = None if self.spread is None else np.delete(self.spread, row, 0)
        return replace(self, x=x, target=target, scaled=scaled, weight=weight, spread=spread)


@dataclass(frozen=True)
class Fitted:
    """A fit and its resamples: theta [P] and `draws` [R P], both of centred columns.

    `noise` is the residual s.d. (scaled, at a point of mean weight), corrected for the parameters;
    `doubted` the decisive point that the others reject, without which half of the draws are.
    """

    theta: Array
    draws: Array
    noise: float
    doubted: int | None = None


def evaluate(curve: Curve, theta: Array, x: Columns) -> Array:
    """The target [R n] of thetas [R P] at columns x [n]."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value = curve.predict([theta[:, k, None] for k in range(theta.shape[1])], x)
    return np.broadcast_to(value, (len(theta), len(next(iter(x.values())))))


def m_estimate(data: Data, resamples: int, rng: np.random.Generator) -> Fitted:
    """The robust fit of this module, with intervals from simulated tables."""
    theta, noise = robust_fit(data)
    draws, doubted = simulate(data, theta, noise, resamples, rng), doubted_point(data, theta)
    if doubted is not None:
        others, half = data.without(doubted), resamples // 2
        draws[:half] = simulate(others, *robust_fit(others), half, rng)
    return Fitted(theta, draws, noise, doubted)


def jacobian(data: Data, theta: Array) -> Array:
    """The derivative [P n] of the target at weighted points, each parameter's of length 1."""
    derivative = data.model.linearise(theta[None])[1][0] * np.sqrt(data.weight)
    return derivative / np.maximum(np.linalg.norm(derivative, axis=1, keepdims=True), 1e-300)


def leverage(data: Data, theta: Array) -> Array:
    """[n], 0 to 1: the share of an error of each point by which the law there moves with it."""
    _, size, directions = np.linalg.svd(jacobian(data, theta), full_matrices=False)
    return np.sum(directions[size > 1e-9 * size[0]] ** 2, 0)


def expected_squares(data: Data, theta: Array) -> tuple[float, float]:
    """(sum of squared residuals over the variance of an error, its degrees of freedom): points less
    parameters twice where errors are independent. Else the sum is a mixture of chi-squares, with
    the freedom that has its mean and variance (Satterthwaite 1946).
    """
    if data.spread is None:
        return data.freedom, data.freedom
    _, size, directions = np.linalg.svd(jacobian(data, theta), full_matrices=False)
    fitted = directions[size > 1e-9 * size[0]]
    left = data.spread - fitted.T @ (fitted @ data.spread)
    covariance = left.T @ left
    mean = float(np.trace(covariance))
    return mean, mean**2 / float(np.sum(covariance**2))


class Decisive(NamedTuple):
    """A point of high leverage: its row, the law of the others by least squares [P], and how far it
    lies from that law, as Student's t.
    """

    row: int
    theta: Array
    size: float


def decisive_points(data: Data, theta: Array) -> list[Decisive]:
    """The points of a leverage above DECISIVE, judged by the law that the others give: a fault in
    such a point bends the law to itself, and may hide its leverage there as well as its residual.
    """
    rows = np.flatnonzero(leverage(data, theta) > CANDIDATE)
    if not len(rows) or data.freedom < 1:
        return []
    weight = np.tile(data.weight, (len(rows), 1))
    weight[np.arange(len(rows)), rows] = 0.0
    starts = np.broadcast_to(theta, (len(rows), len(theta)))
    thetas, squares = descend(data.model, data.scaled, weight, starts)
    shares = np.array([leverage(data, other)[row] for row, other in zip(rows, thetas)])
    apart = np.abs(data.scaled[rows] - data.model.predict(thetas)[np.arange(len(rows)), rows])
    variance = np.maximum(2 * squares, 1e-24) / max(data.freedom - 1, 1)
    size = apart * np.sqrt(data.weight[rows] * np.maximum(1 - shares, 1e-9) / variance)
    return [
        Decisive(int(row), other, float(far))
        for row, other, share, far in zip(rows, thetas, shares, size)
        if share > DECISIVE
    ]


def doubted_point(data: Data, theta: Array) -> int | None:
    """The decisive point that the others reject most; None: they reject none, or are too few."""
    decisive = decisive_points(data, theta)
    if not decisive or data.freedom < 3:
        return None
    farthest = max(decisive, key=lambda point: point.size)
    limit = stats.t.isf(DOUBTED / 2, data.freedom - 1)
    return farthest.row if farthest.size > limit else None


def simulate(
    data: Data, theta: Array, noise: float, resamples: int, rng: np.random.Generator
) -> Array:
    """Thetas [R P] of tables with Gaussian noise about the law, fitted by least squares."""
    (_, freedom), model = expected_squares(data, theta), data.model
    if not resamples:
        return np.empty((0, len(theta)))
    scale = noise * np.sqrt(freedom / rng.chisquare(freedom, size=(resamples, 1)))
    spread = np.eye(len(data.target)) if data.spread is None else data.spread
    errors = rng.standard_normal((resamples, spread.shape[1])) @ spread.T / np.sqrt(data.weight)
    simulated = model.predict(theta[None]) + scale * errors
    starts = np.broadcast_to(theta, (resamples, len(theta)))
    return descend(model, simulated, data.weight, starts, steps=50, tolerance=1e-8)[0]


def robust_fit(data: Data) -> tuple[Array, float]:
    """theta [P], and the s.d. of Gaussian noise by which least squares is as uncertain as it."""
    model, starts = data.model, data.curve.starts(data.x, data.target)
    starts = np.clip(starts, model.low, model.high)
    score = huber_losses(model.predict(starts) - data.scaled, NEAR_L1) @ data.weight
    chosen = starts[np.argsort(np.nan_to_num(score, nan=np.inf), kind="stable")[:BEST_STARTS]]
    near, value = descend(model, data.scaled, data.weight, chosen, NEAR_L1, 20, tolerance=1e-6)
    near = near[np.argsort(value, kind="stable")[:FINALISTS]]
    ends, value = descend(model, data.scaled, data.weight, near, NEAR_L1)
    theta = ends[np.argmin(value)]
    residual = data.scaled - model.predict(theta[None])[0]
    # a nearly L1 fit passes through as many points as it has parameters; their residuals say
    # nothing about noise
    sizes = np.sort(np.abs(residual) * np.sqrt(data.weight))[len(theta) :]
    threshold = max(EFFICIENT * float(np.median(sizes)) / 0.6745, 1e-12)
    ends, _ = descend(model, data.scaled, data.weight, theta[None], threshold)
    residual = data.scaled - model.predict(ends)[0]
    bounded, inside = np.clip(residual, -threshold, threshold), np.abs(residual) <= threshold
    variance = np.sum(data.weight * bounded**2) / expected_squares(data, ends[0])[0]
    share = max(np.average(inside, weights=data.weight), 1 / len(residual))
    few = 1 + len(theta) / len(residual) * (1 - share) / share  # Huber 1981, section 7.6
    return ends[0], float(np.sqrt(variance) / share * few)
