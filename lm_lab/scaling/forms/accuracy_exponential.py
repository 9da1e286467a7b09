"""Error of tasks from the loss, by an exponential (Gadre et al., 2403.08540, equation 5).

1 - accuracy(L) = epsilon - k e^(-gamma L): accuracy as a share (also a mean over tasks), L the loss
in any unit, gamma in one over that unit; epsilon is the error of a model that has learnt nothing.
Least squares in accuracy.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import grid


def _predict(theta, x):
    worst, log_k, gamma = theta
    return 1 - worst + np.exp(log_k - gamma * np.exp(x["loss"]))


def _starts(x, target):
    loss, starts = np.exp(x["loss"]), []
    for worst, gamma in grid([1 - target.min(), 1.0], [0.3, 1.0, 3.0]):
        gained = max(float(np.median(target)) - 1 + worst, 1e-3)
        starts.append([worst, np.log(gained) + gamma * np.median(loss), gamma])
    return np.array(starts)


FORM = form(
    "accuracy_exponential",
    "1 - accuracy(L) = epsilon - k e^(-gamma L)",
    "arXiv:2403.08540",
    "accuracy",
    Curve(
        inputs=("loss",),
        predict=_predict,
        parameters=(("epsilon", ""), ("k", ""), ("gamma", "1 / unit of loss")),
        publish=lambda theta, centre: (theta[0], np.exp(theta[1]), theta[2]),
        starts=_starts,
        low=(0.0, -60.0, 1e-3),
        high=(1.5, 60.0, 20.0),
        relative=False,
        centres={"loss": "loss"},
    ),
)
