"""Repeated data: what a second pass over the same tokens is worth (Muennighoff et al., 2305.16264).

L(N, D) = E + A / N'^alpha + B / D'^beta, nats a token, with
    D' = U_D + U_D R_D* (1 - e^(-R_D / R_D*)),  U_D = min(D, unique tokens),  R_D = D / U_D - 1
    N' = U_N + U_N R_N* (1 - e^(-R_N / R_N*)),  U_N = min(N, N_opt(U_D)),     R_N = N / U_N - 1
where N_opt(U_D) is the compute-optimal N of U_D tokens, (alpha A U_D^beta / (beta B))^(1 / alpha).
R_D* and R_N* are the repeats after which a further one is worth 1/e of the first. All seven are
fitted together; the paper fits the last two alone (R_D* 15.4, R_N* 5.3), E, A, B, alpha and beta
being of runs without repeats: give such runs too.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import STEEPEST, grid, of_losses


def _smaller(first, second):
    return np.where(np.real(first) < np.real(second), first, second)


def _saturated(log_unique, log_all, log_scale):
    """log of U + U R* (1 - e^(-R / R*)), with R = all / U - 1."""
    repeats, scale = np.exp(log_all - log_unique) - 1, np.exp(log_scale)
    return log_unique + np.log(1 + scale * (1 - np.exp(-repeats / scale)))


def _predict(theta, x):
    e, a, b, alpha, beta, data_scale, params_scale = theta
    unique = _smaller(x["unique_tokens"], x["tokens"])
    best = (np.log(alpha) + a - np.log(beta) - b + beta * unique) / alpha
    tokens = _saturated(unique, x["tokens"], data_scale)
    params = _saturated(_smaller(x["params"], best), x["params"], params_scale)
    return np.exp(e) + np.exp(a - alpha * params) + np.exp(b - beta * tokens)


def _publish(theta, centre):
    e, a, b, alpha, beta, data_scale, params_scale = theta
    A, B = np.exp(a + alpha * centre["params"]), np.exp(b + beta * centre["tokens"])
    return np.exp(e), A, B, alpha, beta, np.exp(data_scale), np.exp(params_scale)


FORM = form(
    "repeated_data",
    "L(N, D) = E + A / N'^alpha + B / D'^beta, D' = U_D + U_D R_D* (1 - e^(-R_D / R_D*)), N' alike",
    "arXiv:2305.16264",
    "loss",
    Curve(
        inputs=("params", "tokens", "unique_tokens"),
        predict=_predict,
        parameters=(
            *(("E", "nats"), ("A", "nats"), ("B", "nats"), ("alpha", ""), ("beta", "")),
            *(("R_D*", "repeats"), ("R_N*", "repeats")),
        ),
        publish=_publish,
        starts=lambda x, target: of_losses(
            x, target, grid([0.2, 0.5], [0.2, 0.5], np.log([3, 15]), np.log([3, 15]))
        ),
        low=(-30.0, -60.0, -60.0, 0.02, 0.02, -5.0, -5.0),
        high=(30.0, 60.0, 60.0, STEEPEST, STEEPEST, 8.0, 8.0),
        centres={"unique_tokens": "tokens"},
    ),
)
