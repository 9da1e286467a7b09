"""Approach 3 (2203.15556): fits L(N, D) = E + A N^-alpha + B D^-beta by the Huber loss of log loss.

The objective is the SUM of Huber(1e-3) over points: averaged, as in the published fit, it falls
under the default tolerances of L-BFGS, which then stops early (2404.10102). All 4,500 published
starts are scored at once, and the best of them minimised together (descent.py), on log N and log D
centred: uncentred, log A and alpha are nearly one direction. The tests also run L-BFGS from the
published starts, and it ends no lower. This way takes some hundredths of a second, so that every
bootstrap resample is fitted as well. A point weighs as many as it has seeds. theta = (log E, log A,
alpha, log B, beta) throughout.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from lm_lab.scaling.bootstrap import resample
from lm_lab.scaling.descent import Model, descend, huber_losses
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Caution, Refusal

Array = np.ndarray
HUBER = 1e-3
STEEPEST = 3.0  # upper bound of alpha and beta; fitted laws lie near .35
BEST_STARTS = 64
FINALISTS = 8  # of the best starts, after some steps


@dataclass(frozen=True)
class SurfaceFit:
    """The fit of all points: theta f64[5], its objective and its condition number.

    `residuals` f64[n] are observed - predicted log losses, `weight` f64[n] the points' weights by
    their seeds, of mean 1.
    """

    theta: Array
    residuals: Array
    objective: float
    condition: float
    weight: Array

    def noise(self) -> float:
        """Residual s.d. of log loss at a point of mean weight, corrected for five parameters."""
        return float(np.sqrt(np.sum(self.weight * self.residuals**2) / (len(self.residuals) - 5)))


def log_loss(theta: Array, log_params: Array, log_tokens: Array) -> Array:
    """Predicted log loss: theta [..., 5] at points [..., n] gives [..., n]."""
    return _terms(np.asarray(theta), log_params, log_tokens)[0]


def fit_surface(points: Points, huber: float = HUBER) -> SurfaceFit | Refusal:
    """Fits the surface from the published starts.

    Refuses fewer than six points (there are five parameters), two sizes or two budgets.
    """
    refusal = _too_little(points)
    if refusal:
        return refusal
    problem = _Problem.of(points, huber)
    model, data = problem.model, (problem.z, problem.weight)
    starts, _ = problem.best_starts()
    near, objectives = descend(model, *data, starts, huber, steps=30, tolerance=1e-6)
    near = near[np.argsort(objectives, kind="stable")[:FINALISTS]]
    thetas, objectives = descend(model, *data, near, huber)
    best = int(np.argmin(objectives))
    predicted, jacobian = problem.linearise(thetas[best][None])
    scaled = jacobian[0] * np.sqrt(problem.weight)
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-300)
    condition = min(float(np.linalg.cond(scaled)), 1 / np.finfo(np.float64).eps)
    residuals = problem.z - predicted[0]
    return SurfaceFit(
        problem.raw(thetas[best]), residuals, float(objectives[best]), condition, problem.weight
    )


def resample_surfaces(points: Points, index: Array, fit: SurfaceFit, huber: float = HUBER) -> Array:
    """Fits the surface to each bootstrap resample i64[R n] of the points: thetas f64[R 5].

    Each resample starts from the fit of all points and from the two of the best 64 published starts
    that suit it best. A resample is a weight for each point: how often it was drawn.
    """
    problem = _Problem.of(points, huber)
    draws, count = len(index), len(points)
    places = np.arange(draws)[:, None] * count + index
    drawn = np.bincount(places.ravel(), minlength=draws * count).reshape(draws, count)
    weight = drawn * problem.weight
    starts, losses = problem.best_starts()
    others = starts[np.argsort(weight @ losses.T, axis=-1)[:, :2]]
    first = np.broadcast_to(problem.centred(fit.theta), (draws, 5))
    candidates = np.stack([first, others[:, 0], others[:, 1]], 1).reshape(-1, 5)
    thetas, objectives = descend(
        problem.model, problem.z, np.repeat(weight, 3, 0), candidates, huber, 100, 1e-8
    )
    best = np.argmin(objectives.reshape(draws, 3), axis=-1)
    return problem.raw(thetas.reshape(draws, 3, 5)[np.arange(draws), best])


def drawn_surface(points: Points, resamples: int, seed: int) -> tuple[SurfaceFit, Array] | Refusal:
    """The fit of all points, and of so many bootstrap resamples within budgets: thetas f64[R 5].

    The last answers are remembered: a report repeats its analysis with C counted in other ways,
    which no surface sees.
    """
    columns = (points.params, points.tokens, points.loss, points.runs, points.budget)
    return _drawn(_Seen(tuple(column.tobytes() for column in columns), points), resamples, seed)


@dataclass(frozen=True)
class _Seen:
    """Points that are equal where a surface sees no difference: in their `columns`, as bytes."""

    columns: tuple[bytes, ...]
    points: Points = field(compare=False)


@lru_cache(maxsize=8)
def _drawn(seen: _Seen, resamples: int, seed: int) -> tuple[SurfaceFit, Array] | Refusal:
    fit = fit_surface(seen.points)
    if isinstance(fit, Refusal):
        return fit
    index = resample(seen.points.budget, resamples, np.random.default_rng([seed, 0]))
    return fit, resample_surfaces(seen.points, index, fit)


def surface_cautions(fit: SurfaceFit, thetas: Array, lowest_loss: float) -> list[Caution]:
    """Reasons to doubt this fit, given its resamples f64[R 5]; `lowest_loss` in nats."""
    alpha, beta = fit.theta[2], fit.theta[4]
    cautions = []
    share = np.mean(np.exp(thetas[:, 0]) < 0.05 * lowest_loss)
    if share > 0.05:
        message = (
            f"E is {np.exp(fit.theta[0]):.2g} nats, and under 5 % of the lowest loss in "
            f"{share:.0%} of the resamples"
        )
        cautions.append(Caution("irreducible loss near 0", "approach 3", message))
    for name, value in (("alpha", alpha), ("beta", beta)):
        if value < 1e-3 or value > STEEPEST - 1e-3:
            message = (
                f"{name} = {value:.3g} lies at its bound (0 to {STEEPEST:g}): the law is not of "
                "this form here"
            )
            cautions.append(Caution("parameter at a bound", "approach 3", message))
    if fit.condition > 100:
        message = (
            f"condition number {fit.condition:.0f}: the points hardly tell the parameters apart"
        )
        cautions.append(Caution("badly conditioned", "approach 3", message))
    return cautions


def _too_little(points: Points) -> Refusal | None:
    if (budgets := len(points.budgets())) < 2:
        message = f"{budgets or 'no'} budget{'' if budgets else 's'}; a surface needs two"
        return Refusal("too few budgets", "approach 3", message)
    if len(np.unique(points.loss)) < 2:
        return Refusal("no optimum", "approach 3", "every point has the same loss")
    if len(points) < 6 or len(np.unique(points.params)) < 3:
        sizes = len(np.unique(points.params))
        message = (
            f"{len(points)} points of {sizes} size{'' if sizes == 1 else 's'}; five parameters and "
            "a residual need 6 of 3"
        )
        return Refusal("too few points", "approach 3", message)
    return None


@dataclass(frozen=True)
class _Problem:
    """Centred data f64[n]: x = log N, y = log D, z = log loss; `weight` of mean 1 by the seeds.

    The thetas of its methods are centred too.
    """

    x: Array
    y: Array
    z: Array
    weight: Array
    centre: Array  # f64[2]: the means of log N and log D
    huber: float

    @classmethod
    def of(cls, points: Points, huber: float) -> "_Problem":
        x, y, z = np.log(points.params), np.log(points.tokens), np.log(points.loss)
        centre = np.array([x.mean(), y.mean()])
        return cls(x - centre[0], y - centre[1], z, points.runs / points.runs.mean(), centre, huber)

    @property
    def model(self) -> Model:
        low = np.array([self.z.min() - 12.0, -60.0, 0.0, -60.0, 0.0])
        high = np.array([self.z.min() + 1.0, 60.0, STEEPEST, 60.0, STEEPEST])
        return Model(lambda theta: _terms(theta, self.x, self.y)[0], self.linearise, low, high)

    def centred(self, theta: Array, sign: float = -1.0) -> Array:
        shift = np.zeros(np.shape(theta))
        shift[..., 1], shift[..., 3] = (
            theta[..., 2] * self.centre[0],
            theta[..., 4] * self.centre[1],
        )
        return theta + sign * shift

    def raw(self, theta: Array) -> Array:
        return self.centred(theta, sign=1.0)

    def linearise(self, theta: Array) -> tuple[Array, Array]:
        """Predicted log loss [R n] of thetas [R 5], and its derivative [R 5 n]."""
        predicted, (e, a, b) = _terms(theta, self.x, self.y)
        jacobian = np.empty((len(theta), 5, len(self.x)))
        jacobian[:, 0], jacobian[:, 1], jacobian[:, 3] = e, a, b
        np.multiply(a, -self.x, out=jacobian[:, 2])
        np.multiply(b, -self.y, out=jacobian[:, 4])
        return predicted, jacobian

    def best_starts(self) -> tuple[Array, Array]:
        """The best of the published grid of 4,500 starts [S 5], and their Huber losses [S n]."""
        log_e, slopes, log_ab = (
            np.arange(-1, 1.1, 0.5),
            np.arange(0, 2.1, 0.5),
            np.arange(0, 26, 5.0),
        )
        grid = np.meshgrid(log_e, log_ab, slopes, log_ab, slopes, indexing="ij")
        model = self.model
        starts = self.centred(np.stack([axis.ravel() for axis in grid], -1))
        starts = np.clip(starts, model.low, model.high)
        losses = huber_losses(model.predict(starts) - self.z, self.huber)
        best = np.argsort(losses @ self.weight, kind="stable")[:BEST_STARTS]
        return starts[best], losses[best]


def _terms(theta: Array, x: Array, y: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """log of e^logE + A N^-alpha + B D^-beta [..., n], and the share of each term in the sum."""
    e, a, alpha, b, beta = np.moveaxis(theta[..., None], -2, 0)
    log_a, log_b = a - alpha * x, b - beta * y
    top = np.maximum(np.maximum(log_a, log_b), e)
    of_e, of_a, of_b = np.exp(e - top), np.exp(log_a - top), np.exp(log_b - top)
    total = of_e + of_a + of_b
    return top + np.log(total), (of_e / total, of_a / total, of_b / total)
