"""Curves that are sums of powers: what the laws of scaling/forms are put together from."""

from itertools import product

import numpy as np

from lm_lab.scaling.contract import Array
from lm_lab.scaling.curves import Curve

FLATTEST, STEEPEST = 2e-3, 3.0  # exponents; published ones lie between .02 and 1


def power_law(column: str, scale: tuple[str, str], exponent: str) -> Curve:
    """loss = (scale / column)^exponent: Kaplan's form, straight in logs."""
    return Curve(
        inputs=(column,),
        predict=lambda theta, x: np.exp(theta[0] - theta[1] * x[column]),
        parameters=(scale, (exponent, "")),
        publish=lambda theta, centre: (np.exp(theta[0] / theta[1] + centre[column]), theta[1]),
        starts=lambda x, target: grid([np.log(np.median(target))], [0.05, 0.1, 0.3]),
        low=(-20.0, FLATTEST),
        high=(20.0, STEEPEST),
    )


def grid(*axes: list[float] | Array) -> Array:
    """Every combination of the axes' values: thetas [S P]."""
    return np.array(list(product(*axes)), np.float64)
