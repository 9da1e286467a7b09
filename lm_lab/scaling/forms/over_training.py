"""Over-training: the loss at any number of tokens a parameter (Gadre et al., 2403.08540).

L(C, M) = E + (a M^eta + b M^-eta) C^-eta: loss in nats a token, C = 6 N D in FLOPs, M = D / N. It
is the surface of Hoffmann et al. with tied exponents, alpha = beta = 2 eta, so that four parameters
are left and five runs fit them: small models near the optimal M, and one far beyond it.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import FLATTEST, STEEPEST, grid, of_losses


def _predict(theta, x):
    """a M^eta C^-eta = a 6^-eta N^-2eta, and b M^-eta C^-eta = b 6^-eta D^-2eta."""
    e, of_params, of_tokens, eta = theta
    params, tokens = of_params - 2 * eta * x["params"], of_tokens - 2 * eta * x["tokens"]
    return np.exp(e) + np.exp(params) + np.exp(tokens)


def _publish(theta, centre):
    e, of_params, of_tokens, eta = theta
    a, b = (
        np.exp(log + eta * (np.log(6) + 2 * centre[column]))
        for log, column in ((of_params, "params"), (of_tokens, "tokens"))
    )
    return np.exp(e), a, b, eta


FORM = form(
    "over_training",
    "L(C, M) = E + (a M^eta + b M^-eta) C^-eta",
    "arXiv:2403.08540",
    "loss",
    Curve(
        inputs=("params", "tokens"),
        predict=_predict,
        parameters=(("E", "nats"), ("a", "nats"), ("b", "nats"), ("eta", "")),
        publish=_publish,
        starts=lambda x, target: of_losses(x, target, grid([0.05, 0.1, 0.2, 0.3])),
        low=(-30.0, -60.0, -60.0, FLATTEST),
        high=(30.0, 60.0, 60.0, STEEPEST / 2),
    ),
)
