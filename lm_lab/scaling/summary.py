"""Turns fits into records: the points with their residuals, and the surface."""

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Point, Surface
from lm_lab.scaling.surface import SurfaceFit, log_loss

Array = np.ndarray
KEPT_RESAMPLES = 200  # of the surface, in its record: enough to draw pairs of parameters


def surface_record(fit: SurfaceFit, thetas: Array, level: float) -> Surface:
    """The surface with the intervals of its resamples f64[R 5]."""
    all_thetas = np.concatenate([fit.theta[None], thetas])
    log_e, log_a, alphas, log_b, betas = all_thetas.T
    share = betas / np.maximum(alphas + betas, 1e-300)
    columns = [np.exp(log_e), np.exp(log_a), np.exp(log_b), alphas, betas, share, 1 - share]
    E, A, B, alpha, beta, a, b = (estimate(column[0], column[1:], level) for column in columns)
    points, noise = len(fit.residuals), fit.noise()
    stored = _few(np.stack(columns[:5], -1)[1:])
    return Surface(E, A, B, alpha, beta, a, b, points, fit.objective, noise, fit.condition, stored)


def _few(thetas: Array) -> tuple[tuple[float, ...], ...]:
    """At most KEPT_RESAMPLES of the resampled parameters [R 5], evenly chosen, finite ones."""
    finite = thetas[np.isfinite(thetas).all(-1)]
    chosen = np.unique(
        np.linspace(0, len(finite) - 1, min(len(finite), KEPT_RESAMPLES)).astype(int)
    )
    return tuple(tuple(map(float, theta)) for theta in finite[chosen])


def point_records(cells: Points, seen: Array, surface: SurfaceFit | None) -> tuple[Point, ...]:
    """The cells with what the surface predicts for them; `seen` [n] marks those not held out."""
    predicted = [None] * len(cells)
    if surface is not None:
        logs = log_loss(surface.theta, np.log(cells.params), np.log(cells.tokens))
        predicted = np.exp(logs).tolist()
    rates = [None if np.isnan(rate) else float(rate) for rate in cells.rate]
    return tuple(
        Point(
            params=float(cells.params[i]),
            tokens=float(cells.tokens[i]),
            flops=float(cells.flops[i]),
            budget=float(cells.budget[i]),
            loss=float(cells.loss[i]),
            rate=rates[i],
            seeds=int(cells.runs[i]),
            held_out=not seen[i],
            predicted=predicted[i],
            residual=None if predicted[i] is None else float(np.log(cells.loss[i] / predicted[i])),
            chosen=cells.chosen[i],
            loss_sd=None if np.isnan(cells.loss_sd[i]) else float(cells.loss_sd[i]),
        )
        for i in range(len(cells))
    )
