"""Accuracy of a task from the compute of training, by a sigmoid in its logarithm, within a family.

accuracy(C) = floor + (ceiling - floor) / (1 + (C_0 / C)^k): accuracy as a share, C in FLOPs, C_0
the compute that gains half. Models of one family share their data and recipe: another family has
another C_0 (Ruan et al., 2405.10938). Least squares in accuracy.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import grid


def _predict(theta, x):
    floor, ceiling, log_slope, middle = theta
    return floor + (ceiling - floor) / (1 + np.exp(np.exp(log_slope) * (middle - x["flops"])))


def _starts(x, target):
    middles = np.quantile(x["flops"], [0.1, 0.3, 0.5, 0.7, 0.9])
    slopes = np.log([0.3, 0.8, 2.0])
    return grid([target.min(), target.min() / 2], [target.max(), 1.0], slopes, middles)


FORM = form(
    "accuracy_compute",
    "accuracy(C) = floor + (ceiling - floor) / (1 + (C_0 / C)^k)",
    "arXiv:2405.10938",
    "accuracy",
    Curve(
        inputs=("flops",),
        predict=_predict,
        parameters=(("floor", ""), ("ceiling", ""), ("k", ""), ("C_0", "FLOPs")),
        publish=lambda theta, centre: (
            theta[0],
            theta[1],
            np.exp(theta[2]),
            np.exp(theta[3] + centre["flops"]),
        ),
        starts=_starts,
        low=(0.0, 0.0, -4.0, -40.0),
        high=(1.0, 1.0, 4.0, 40.0),
        relative=False,
    ),
)
