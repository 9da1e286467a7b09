"""The surface of Hoffmann et al. (2203.15556) by variable projection (2603.22339).

L(N, D) = E + A / N^alpha + B / D^beta: loss in nats a token. Least squares in the loss itself, over
alpha and beta alone, in which E, A and B are linear: another objective and another search than
`chinchilla`'s, as a check on it. Outliers pull it. Intervals come from simulated tables with
Gaussian noise in nats.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Data, Fitted, simulate
from lm_lab.scaling.forms.chinchilla import centred, points_of, surface_curve
from lm_lab.scaling.variable_projection import project


def _project(data: Data, resamples: int, rng: np.random.Generator) -> Fitted:
    theta = np.clip(centred(project(points_of(data)), data), data.curve.low, data.curve.high)
    residual = data.target - data.model.predict(theta[None])[0]
    noise = float(np.sqrt(np.sum(data.weight * residual**2) / data.freedom))
    return Fitted(theta, simulate(data, theta, noise, resamples, rng), noise)


FORM = form(
    "variable_projection",
    "L(N, D) = E + A / N^alpha + B / D^beta",
    "arXiv:2603.22339",
    "loss",
    surface_curve(relative=False),
    estimator=_project,
)
