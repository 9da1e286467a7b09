"""Accuracy of a task from the loss, by a sigmoid (Bhagia et al., 2412.04403, step 2).

accuracy(L) = floor + (ceiling - floor) / (1 + e^(k (L - L_0))): accuracy as a share, L the loss of
the text or of the task's answers, in any unit; k in one over that unit. Least squares in accuracy.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import grid


def _predict(theta, x):
    floor, ceiling, log_slope, middle = theta
    return floor + (ceiling - floor) / (
        1 + np.exp(np.exp(log_slope) * (np.exp(x["loss"]) - middle))
    )


def _starts(x, target):
    loss = np.exp(x["loss"])
    middles = np.quantile(loss, [0.1, 0.3, 0.5, 0.7, 0.9])
    slopes = np.log(np.array([2.0, 5.0, 15.0]) / max(float(np.ptp(loss)), 1e-12))
    return grid([target.min(), target.min() / 2], [target.max(), 1.0], slopes, middles)


FORM = form(
    "accuracy_sigmoid",
    "accuracy(L) = floor + (ceiling - floor) / (1 + e^(k (L - L_0)))",
    "arXiv:2412.04403",
    "accuracy",
    Curve(
        inputs=("loss",),
        predict=_predict,
        parameters=(("floor", ""), ("ceiling", ""), ("k", "1 / unit of loss"), ("L_0", "loss")),
        publish=lambda theta, centre: (theta[0], theta[1], np.exp(theta[2]), theta[3]),
        starts=_starts,
        low=(0.0, 0.0, -10.0, -20.0),
        high=(1.0, 1.5, 10.0, 40.0),
        relative=False,
        centres={"loss": "loss"},
    ),
)
