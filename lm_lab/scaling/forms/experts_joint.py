"""A joint law of mixtures of experts: active parameters, all parameters and tokens.

L = E + A / N'^alpha + B / D^beta, N' = N_active^(1 - w) N_total^w: loss in nats a token. w says
what a parameter is worth that a token does not use: 0 nothing, 1 as much as an active one. It is
the joint law of Ludziejewski et al. (2502.05172) with the number of experts as N_total / N_active
and without the interactions of experts with the exponents. Dense models (N_active = N_total) and
several sparsities are needed to tell w.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import STEEPEST, grid, of_losses


def _predict(theta, x):
    e, a, b, alpha, beta, share = theta
    params = (1 - share) * x["active_params"] + share * x["params"]
    return np.exp(e) + np.exp(a - alpha * params) + np.exp(b - beta * x["tokens"])


def _publish(theta, centre):
    e, a, b, alpha, beta, share = theta
    params = (1 - share) * centre["active_params"] + share * centre["params"]
    A, B = np.exp(a + alpha * params), np.exp(b + beta * centre["tokens"])
    return np.exp(e), A, B, alpha, beta, share


FORM = form(
    "experts_joint",
    "L = E + A / (N_active^(1 - w) N_total^w)^alpha + B / D^beta",
    "arXiv:2502.05172",
    "loss",
    Curve(
        inputs=("active_params", "params", "tokens"),
        predict=_predict,
        parameters=(
            *(("E", "nats"), ("A", "nats"), ("B", "nats"), ("alpha", ""), ("beta", "")),
            ("w", ""),
        ),
        publish=_publish,
        starts=lambda x, target: of_losses(
            x, target, grid([0.2, 0.5], [0.2, 0.5], [0.2, 0.5, 0.8])
        ),
        low=(-30.0, -60.0, -60.0, 0.0, 0.0, -1.0),
        high=(30.0, 60.0, 60.0, STEEPEST, STEEPEST, 2.0),
    ),
)
