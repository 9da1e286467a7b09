"""Minimises sums of Huber losses from many starts, or for many resamples, at once.

Levenberg-Marquardt steps within bounds. Two are tried and the lower is taken: with the Hessian of
reweighted least squares, which is safe far from a minimum, and with Newton's (residuals beyond the
threshold have no curvature), which settles a nearly L1 objective in some six steps, not hundreds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray
DERIVATIVE_STEP = 1e-30  # of the complex-step derivative, which has no cancellation
ROWS = 256  # minimised together, so that their Jacobians stay in a processor's cache


class Model(NamedTuple):
    """What is fitted: R vectors theta [R P] predict n points each."""

    predict: Callable[[Array], Array]  # theta -> [R n]
    linearise: Callable[[Array], tuple[Array, Array]]  # theta -> [R n], derivative [R P n]
    low: Array  # f64[P]
    high: Array  # f64[P]


def complex_step(predict: Callable[[Array], Array]) -> Callable[[Array], tuple[Array, Array]]:
    """Value [R n] and derivative [R P n] of an analytic function theta [R P] -> [R n], exactly."""

    def linearise(theta: Array) -> tuple[Array, Array]:
        count = theta.shape[-1]
        stepped = theta[:, None] + 1j * DERIVATIVE_STEP * np.eye(count)
        values = predict(stepped.reshape(-1, count)).reshape(len(theta), count, -1)
        return np.real(values[:, 0]), np.imag(values) / DERIVATIVE_STEP

    return linearise


def huber_losses(residual: Array, huber: float) -> Array:
    """Huber's loss of each residual: r^2 / 2 within the threshold, straight beyond it."""
    size = np.abs(residual)
    inner = np.minimum(size, huber)
    return inner * (size - inner / 2)


def descend(
    model: Model,
    target: Array,
    weight: Array,
    theta: Array,
    huber: float = np.inf,
    steps: int = 200,
    tolerance: float = 1e-13,
) -> tuple[Array, Array]:
    """Minimises from each theta [R P]: the thetas reached, and their objectives [R].

    `target` and `weight` are those of the points [n], or of each theta [R n]. A theta rests once a
    step lowers its objective by less than `tolerance` of it, or no step lowers it.
    """
    shape = (len(theta), np.shape(target)[-1])
    target, weight = np.broadcast_to(target, shape), np.broadcast_to(weight, shape)
    ends = [
        _descend(model, target[part], weight[part], theta[part], huber, steps, tolerance)
        for part in (slice(first, first + ROWS) for first in range(0, len(theta), ROWS))
    ]
    return np.concatenate([end[0] for end in ends]), np.concatenate([end[1] for end in ends])


class _State(NamedTuple):
    """Thetas with their residuals [R n], Jacobians [R P n] and objectives [R]."""

    theta: Array
    residual: Array
    jacobian: Array
    value: Array

    def where(self, rows: Array) -> "_State":
        return _State(*(array[rows] for array in self))

    def better(self, other: "_State") -> "_State":
        """Row by row the one with the lower objective."""
        lower = other.value < self.value
        merged = [
            np.where(lower.reshape(-1, *[1] * (ours.ndim - 1)), theirs, ours)
            for ours, theirs in zip(self, other)
        ]
        return _State(*merged)


def _descend(
    model: Model,
    target: Array,
    weight: Array,
    theta: Array,
    huber: float,
    steps: int,
    tolerance: float,
) -> tuple[Array, Array]:
    def state(theta: Array) -> _State:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            predicted, jacobian = model.linearise(theta)
            residual = predicted - target
            value = np.nan_to_num((weight * huber_losses(residual, huber)).sum(-1), nan=np.inf)
            return _State(theta, residual, jacobian, value)

    curvatures = [_reweighted] if np.isinf(huber) else [_reweighted, _newton]
    now, damping = state(theta), np.full((len(curvatures), len(theta)), 1e-2)
    ended, objective, rows = theta.copy(), now.value.copy(), np.arange(len(theta))
    for _ in range(steps):
        best = now
        for curvature, damped in zip(curvatures, damping):
            ahead = state(_step(model, now, weight, curvature(now.residual, huber), huber, damped))
            gained = ahead.value < now.value
            damped[:] = np.where(gained, np.maximum(damped / 5, 1e-9), damped * 5)
            best = best.better(ahead)
        gain, now = now.value - best.value, best
        ended[rows], objective[rows] = now.theta, now.value
        resting = (gain > 0) & (gain < tolerance * now.value) | (damping.min(0) > 1e10)
        resting |= ~(now.value > 0)
        if resting.any():
            moving = ~resting
            now, rows, damping = now.where(moving), rows[moving], damping[:, moving]
            target, weight = target[moving], weight[moving]
        if not len(rows):
            break
    return ended, objective


def _reweighted(residual: Array, huber: float) -> Array:
    return np.minimum(1.0, huber / np.maximum(np.abs(residual), 1e-300))


def _newton(residual: Array, huber: float) -> Array:
    return (np.abs(residual) <= huber).astype(np.float64)


def _step(
    model: Model, state: _State, weight: Array, curvature: Array, huber: float, damping: Array
) -> Array:
    """Damped Newton steps; a theta at a bound that its gradient pushes against stays there."""
    gradient = np.einsum(
        "rpn,rn->rp", state.jacobian, weight * np.clip(state.residual, -huber, huber)
    )
    hessian = (state.jacobian * (weight * curvature)[:, None]) @ state.jacobian.transpose(0, 2, 1)
    at_bound = (state.theta <= model.low) & (gradient > 0) | (state.theta >= model.high) & (
        gradient < 0
    )
    gradient = np.where(at_bound, 0.0, gradient)
    hessian = np.where(at_bound[:, :, None] | at_bound[:, None, :], 0.0, hessian)
    diagonal = np.einsum("rpp->rp", hessian)
    ridge = damping[:, None] * diagonal + at_bound + 1e-14
    hessian = hessian + ridge[..., None] * np.eye(len(model.low))
    step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return np.clip(state.theta - step, model.low, model.high)
