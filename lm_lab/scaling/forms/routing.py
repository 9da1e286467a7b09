"""Clark's law of routed models: parameters and experts together (2202.01169, equations 1 and 2).

log10 L(N, E) = a log10 N + b log10 E' + c log10 N log10 E' + d, with the saturating number of
experts 1 / E' = 1 / (E - 1 + (1 / E_start - 1 / E_max)^-1) + 1 / E_max: loss in nats a token, N the
parameters of the dense model that a token passes through (active_params), E the experts of a layer
(1: a dense model). Models of one number of tokens. Published for S-Base: a -.082, b -.108, c .009,
d 1.104, E_start 1.847, E_max 314.5.
"""

import numpy as np

from lm_lab.scaling.curves import form
from lm_lab.scaling.estimation import Curve
from lm_lab.scaling.powers import grid

TEN = np.log(10.0)


def _effective(log_experts, start, most):
    """log E'; start = log(E_start - 1), most = log(E_max)."""
    first, last = 1 + np.exp(start), np.exp(most)
    return -np.log(1 / (np.exp(log_experts) - 1 + 1 / (1 / first - 1 / last)) + 1 / last)


def _predict(theta, x):
    a, b, c, d, start, most = theta
    experts = _effective(x["experts"], start, most)
    return np.exp(d + a * x["active_params"] + (b + c * x["active_params"]) * experts)


def _publish(theta, centre):
    a, b, c, d, start, most = theta
    at = centre["active_params"]
    return a, b - c * at, c * TEN, (d - a * at) / TEN, 1 + np.exp(start), np.exp(most)


def _starts(x, target):
    starts = []
    for offset, saturation in grid(np.log([0.5, 2.0]), np.log([100.0, 500.0, 5000.0])):
        experts = _effective(x["experts"], offset, saturation)
        basis = np.stack(
            [x["active_params"], experts, experts * x["active_params"], np.ones(len(target))], -1
        )
        linear = np.linalg.lstsq(basis, np.log(target), rcond=None)[0]
        starts.append([*linear, offset, saturation])
    return np.array(starts)


FORM = form(
    "routing",
    "log10 L(N, E) = a log10 N + b log10 E' + c log10 N log10 E' + d, E' saturating in E",
    "arXiv:2202.01169",
    "loss",
    Curve(
        inputs=("active_params", "experts"),
        predict=_predict,
        parameters=tuple((name, "") for name in ("a", "b", "c", "d", "E_start", "E_max")),
        publish=_publish,
        starts=_starts,
        low=(-3.0, -3.0, -3.0, -20.0, -7.0, 2.5),
        high=(1.0, 3.0, 3.0, 20.0, 3.0, 16.0),
        centres={"experts": "experts"},
    ),
)
