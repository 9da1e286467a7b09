"""Approach 3 (2203.15556): fits L(N, D) = E + A N^-alpha + B D^-beta by the Huber loss of log loss.

The objective is the SUM of Huber(1e-3) over points: averaged, as in the published fit, it falls
under the default tolerances of L-BFGS, which then stops early (2404.10102). All 4,500 published
starts are scored at once. The best of them are optimised together by reweighted Levenberg-Marquardt
steps, on log N and log D centred (uncentred, log A and alpha are nearly one direction). The tests
also run L-BFGS from the published starts, and it ends no lower. This way takes some hundredths of a
second, so that every bootstrap resample is fitted as well. theta = (log E, log A, alpha, log B,
beta) throughout.
"""

from dataclasses import dataclass

import numpy as np

from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Caution, Refusal

Array = np.ndarray
HUBER = 1e-3
STEEPEST = 3.0  # upper bound of alpha and beta; fitted laws lie near .35
BEST_STARTS = 64


@dataclass(frozen=True)
class SurfaceFit:
    """The fit of all points: theta f64[5], its objective and its condition number.

    `residuals` f64[n] are observed - predicted log losses.
    """

    theta: Array
    residuals: Array
    objective: float
    condition: float

    def noise(self) -> float:
        """Residual s.d. of log loss, corrected for the five parameters."""
        return float(np.sqrt(np.sum(self.residuals**2) / (len(self.residuals) - 5)))


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
    theta = problem.descend(problem.best_starts(BEST_STARTS))[0]
    predicted, shares = _terms(theta, problem.x, problem.y)
    jacobian = _jacobian(shares, problem.x, problem.y)
    scaled = jacobian / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300)
    objective = float(problem.objective(theta[None])[0])
    condition = min(float(np.linalg.cond(scaled)), 1 / np.finfo(np.float64).eps)
    return SurfaceFit(problem.raw(theta), problem.z - predicted, objective, condition)


def resample_surfaces(points: Points, index: Array, fit: SurfaceFit, huber: float = HUBER) -> Array:
    """Fits the surface to each bootstrap resample i64[R n] of the points: thetas f64[R 5].

    Each resample starts from the fit of all points and from the two of the best 64 published starts
    that suit it best.
    """
    problem = _Problem.of(points, huber)
    resampled = problem.take(index)
    starts = problem.best_starts(BEST_STARTS)
    scores = np.stack(
        [resampled.objective(np.broadcast_to(start, (len(index), 5))) for start in starts], -1
    )
    others = starts[np.argsort(scores, axis=-1)[:, :2]]
    candidates = [
        np.broadcast_to(problem.centred(fit.theta), (len(index), 5)),
        others[:, 0],
        others[:, 1],
    ]
    ended = [
        resampled.descend(candidate, steps=100, tolerance=1e-8, sort=False)
        for candidate in candidates
    ]
    best = np.argmin([resampled.objective(theta) for theta in ended], axis=0)
    return problem.raw(np.stack(ended)[best, np.arange(len(index))])


def surface_cautions(fit: SurfaceFit, thetas: Array, lowest_loss: float) -> list[Caution]:
    """Reasons to doubt this fit, given its resamples f64[R 5]; `lowest_loss` in nats."""
    alpha, beta = fit.theta[2], fit.theta[4]
    found = []
    share = np.mean(np.exp(thetas[:, 0]) < 0.05 * lowest_loss)
    if share > 0.05:
        message = (
            f"E is {np.exp(fit.theta[0]):.2g} nats, and under 5 % of the lowest loss in "
            f"{share:.0%} of the resamples"
        )
        found.append(Caution("irreducible loss near 0", "approach 3", message))
    for name, value in (("alpha", alpha), ("beta", beta)):
        if value < 1e-3 or value > STEEPEST - 1e-3:
            message = (
                f"{name} = {value:.3g} lies at its bound (0 to {STEEPEST:g}): the law is not of "
                "this form here"
            )
            found.append(Caution("parameter at a bound", "approach 3", message))
    if fit.condition > 100:
        message = (
            f"condition number {fit.condition:.0f}: the points hardly tell the parameters apart"
        )
        found.append(Caution("badly conditioned", "approach 3", message))
    return found


def _too_little(points: Points) -> Refusal | None:
    if len(points.budgets()) < 2:
        return Refusal(
            "too few budgets", "approach 3", f"{len(points.budgets())} budget; a surface needs two"
        )
    if len(points) < 6 or len(np.unique(points.params)) < 3:
        sizes = len(np.unique(points.params))
        message = (
            f"{len(points)} points of {sizes} sizes; five parameters and a residual need 6 of 3"
        )
        return Refusal("too few points", "approach 3", message)
    return None


@dataclass(frozen=True)
class _Problem:
    """Centred data f64[n], or f64[R n] for R resamples: x = log N, y = log D, z = log loss.

    The thetas of its methods are centred too.
    """

    x: Array
    y: Array
    z: Array
    centre: Array  # f64[2]: the means of log N and log D
    huber: float
    low: Array
    high: Array

    @classmethod
    def of(cls, points: Points, huber: float) -> "_Problem":
        x, y, z = np.log(points.params), np.log(points.tokens), np.log(points.loss)
        centre = np.array([x.mean(), y.mean()])
        low = np.array([z.min() - 12.0, -60.0, 0.0, -60.0, 0.0])
        high = np.array([z.min() + 1.0, 60.0, STEEPEST, 60.0, STEEPEST])
        return cls(x - centre[0], y - centre[1], z, centre, huber, low, high)

    def take(self, index: Array) -> "_Problem":
        return _Problem(
            self.x[index],
            self.y[index],
            self.z[index],
            self.centre,
            self.huber,
            self.low,
            self.high,
        )

    def centred(self, theta: Array, sign: float = -1.0) -> Array:
        shift = np.zeros(np.shape(theta))
        shift[..., 1], shift[..., 3] = (
            theta[..., 2] * self.centre[0],
            theta[..., 4] * self.centre[1],
        )
        return theta + sign * shift

    def raw(self, theta: Array) -> Array:
        return self.centred(theta, sign=1.0)

    def objective(self, theta: Array) -> Array:
        """The sum of Huber losses [R] of thetas [R 5]."""
        size = np.abs(_terms(theta, self.x, self.y)[0] - self.z)
        inner = np.minimum(size, self.huber)
        return np.sum(inner * (size - inner / 2), -1)

    def best_starts(self, count: int) -> Array:
        """The best of the published grid of 4,500 starts [count 5]."""
        log_e, slopes, log_ab = (
            np.arange(-1, 1.1, 0.5),
            np.arange(0, 2.1, 0.5),
            np.arange(0, 26, 5.0),
        )
        grid = np.meshgrid(log_e, log_ab, slopes, log_ab, slopes, indexing="ij")
        starts = np.clip(
            self.centred(np.stack([axis.ravel() for axis in grid], -1)), self.low, self.high
        )
        return starts[np.argsort(self.objective(starts), kind="stable")[:count]]

    def descend(
        self, theta: Array, steps: int = 300, tolerance: float = 1e-13, sort: bool = True
    ) -> Array:
        """Levenberg-Marquardt from many thetas [R 5] at once, with reweighted residuals.

        Each theta accepts only steps that lower its objective.
        """
        theta, best, damping = theta.copy(), self.objective(theta), np.full(len(theta), 1e-2)
        active = np.arange(len(theta))
        for _ in range(steps):
            if not len(active):
                break
            part = self.take(active) if self.x.ndim > 1 else self
            proposal = part.step(theta[active], damping[active])
            value = part.objective(proposal)
            gain = best[active] - value
            better = active[gain > 0]
            theta[better], best[better] = proposal[gain > 0], value[gain > 0]
            damping[active] = np.where(
                gain > 0, np.maximum(damping[active] / 5, 1e-9), damping[active] * 5
            )
            small = (gain > 0) & (gain < tolerance * value)
            active = active[~small & (damping[active] < 1e10)]
        return theta[np.argsort(best, kind="stable")] if sort else theta

    def step(self, theta: Array, damping: Array) -> Array:
        predicted, shares = _terms(theta, self.x, self.y)
        residual = predicted - self.z
        weight = np.minimum(1.0, self.huber / np.maximum(np.abs(residual), 1e-300))
        jacobian = _jacobian(shares, self.x, self.y)
        hessian = np.einsum("rn,rni,rnj->rij", weight, jacobian, jacobian)
        gradient = np.einsum("rn,rni->ri", weight * residual, jacobian)
        ridge = damping[:, None] * np.einsum("rii->ri", hessian) + 1e-14
        moved = np.linalg.solve(hessian + ridge[..., None] * np.eye(5), -gradient[..., None])[
            ..., 0
        ]
        return np.clip(theta + moved, self.low, self.high)


def _terms(theta: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """log of e^logE + A N^-alpha + B D^-beta [..., n], and the share of each term [..., 3, n]."""
    e, a, alpha, b, beta = np.moveaxis(theta[..., None], -2, 0)
    logs = np.stack(np.broadcast_arrays(e, a - alpha * x, b - beta * y), -2)
    top = logs.max(-2, keepdims=True)
    parts = np.exp(logs - top)
    total = parts.sum(-2, keepdims=True)
    return (top + np.log(total))[..., 0, :], parts / total


def _jacobian(shares: Array, x: Array, y: Array) -> Array:
    """d log loss / d theta [..., n, 5]."""
    e, a, b = np.moveaxis(shares, -2, 0)
    return np.stack([e, a, -a * x, b, -b * y], -1)
