"""Kaplan's L(N, D): too few parameters and too few tokens together (2001.08361, equation 1.5).

L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D: loss in nats a token, N without
embeddings, D in tokens. Published joint fit: alpha_N .076, alpha_D .103, N_c 6.4e13, D_c 1.8e13.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import FLATTEST, STEEPEST, grid


def _predict(theta, x):
    """theta = (a, alpha_N, b, alpha_D); e^a and e^b are the losses of the limits at the centre."""
    a, of_params, b, of_tokens = theta
    params, tokens = a - of_params * x["params"], b - of_tokens * x["tokens"]
    return (np.exp(params / of_tokens) + np.exp(tokens / of_tokens)) ** of_tokens


def _publish(theta, centre):
    a, of_params, b, of_tokens = theta
    scale_params = np.exp(a / of_params + centre["params"])
    return scale_params, of_params, np.exp(b / of_tokens + centre["tokens"]), of_tokens


def _starts(x, target):
    middle = np.log(np.median(target))
    near = [middle - 0.02, middle - 0.1, middle - 0.5]
    return grid(near, [0.05, 0.1, 0.3], near, [0.05, 0.1, 0.3])


FORM = form(
    "kaplan_joint",
    "L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D",
    "arXiv:2001.08361",
    "loss",
    Curve(
        inputs=("params", "tokens"),
        predict=_predict,
        parameters=(("N_c", "parameters"), ("alpha_N", ""), ("D_c", "tokens"), ("alpha_D", "")),
        publish=_publish,
        starts=_starts,
        low=(-20.0, FLATTEST, -20.0, 0.01),
        high=(20.0, STEEPEST, 20.0, STEEPEST),
    ),
)
