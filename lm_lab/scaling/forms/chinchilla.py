"""The surface of Hoffmann et al. (2203.15556, approach 3) by the objective of Besiroglu et al.

L(N, D) = E + A / N^alpha + B / D^beta: loss in nats a token, N in parameters, D in tokens. It
minimises the sum of Huber losses (1e-3) of log loss (2404.10102: averaged, as published at first,
the search stops early), by surface.py. Intervals come from rows drawn with replacement within each
budget of C = 6 N D: a draw from all rows leaves some budgets with next to none, and intervals that
are too wide. Besiroglu's refit of the published points: E 1.8169, A 482.01, B 2085.43, alpha .3478,
beta .3658.
"""

from dataclasses import replace

import numpy as np

from lm_lab.scaling.bootstrap import resample
from lm_lab.scaling.contract import Array
from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve, Data, Fitted
from lm_lab.scaling.points import Points, make_points
from lm_lab.scaling.powers import grid, of_losses
from lm_lab.scaling.records import Refusal
from lm_lab.scaling.surface import STEEPEST, fit_surface, resample_surfaces


def _predict(theta, x):
    e, a, b, alpha, beta = theta
    return np.exp(e) + np.exp(a - alpha * x["params"]) + np.exp(b - beta * x["tokens"])


def _publish(theta, centre):
    e, a, b, alpha, beta = theta
    scale_params = np.exp(a + alpha * centre["params"])
    return np.exp(e), scale_params, np.exp(b + beta * centre["tokens"]), alpha, beta


def surface_curve(relative: bool) -> Curve:
    """E + A / N^alpha + B / D^beta, with noise in log loss (relative) or in loss."""
    return Curve(
        inputs=("params", "tokens"),
        predict=_predict,
        parameters=(("E", "nats"), ("A", "nats"), ("B", "nats"), ("alpha", ""), ("beta", "")),
        publish=_publish,
        starts=lambda x, target: of_losses(x, target, grid([0.2, 0.5], [0.2, 0.5])),
        low=(-30.0, -60.0, -60.0, 0.0, 0.0),
        high=(30.0, 60.0, 60.0, STEEPEST, STEEPEST),
        relative=relative,
    )


def points_of(data: Data) -> Points:
    """The data as Points, with C = 6 N D."""
    params, tokens = (np.exp(data.x[key] + data.centre[key]) for key in ("params", "tokens"))
    rows = np.arange(len(params))  # rows that agree are seeds, or draws of a bootstrap
    points = make_points(params, tokens, 6 * params * tokens, data.target, seed=rows)
    return replace(points, runs=data.weight)


def centred(theta: Array, data: Data) -> Array:
    """theta (log E, log A, alpha, log B, beta) [... 5] of surface.py in this curve's order."""
    e, a, alpha, b, beta = np.moveaxis(theta, -1, 0)
    shifted = a - alpha * data.centre["params"], b - beta * data.centre["tokens"]
    return np.stack([e, *shifted, alpha, beta], -1)


def _approach_3(data: Data, resamples: int, rng: np.random.Generator) -> Fitted | Refusal:
    points = points_of(data)
    fit = fit_surface(points)
    if isinstance(fit, Refusal):
        return fit
    draws = resample_surfaces(points, resample(points.budget, resamples, rng), fit)
    return Fitted(centred(fit.theta, data), centred(draws, data), fit.noise())


FORM = form(
    "chinchilla",
    "L(N, D) = E + A / N^alpha + B / D^beta",
    "arXiv:2203.15556, arXiv:2404.10102",
    "loss",
    surface_curve(relative=True),
    estimator=_approach_3,
)
