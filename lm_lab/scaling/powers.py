"""Curves that are powers and sums of powers, for many laws of scaling/forms."""

from collections.abc import Mapping
from itertools import product

import numpy as np

from lm_lab.scaling.contract import Array, Columns
from lm_lab.scaling.estimation import Curve

FLATTEST, STEEPEST = 2e-3, 3.0  # exponents of falling losses; published ones lie between .02 and 1


def decay(column: str, scale: tuple[str, str], exponent: str) -> Curve:
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


def growth(coefficient: tuple[str, str], exponents: Mapping[str, str]) -> Curve:
    """target = coefficient * product of column^exponent; `exponents` names that of each column."""
    columns = tuple(exponents)

    def publish(theta, centre):
        shift = sum(slope * centre[column] for slope, column in zip(theta[1:], columns))
        return (np.exp(theta[0] - shift), *theta[1:])

    return Curve(
        inputs=columns,
        predict=lambda theta, x: np.exp(
            theta[0] + sum(slope * x[column] for slope, column in zip(theta[1:], columns))
        ),
        parameters=(coefficient, *((name, "") for name in exponents.values())),
        publish=publish,
        starts=lambda x, target: np.array(
            [[np.log(np.median(target)), *[slope] * len(columns)] for slope in (-0.5, 0.0, 0.5)]
        ),
        low=(-200.0, *[-5.0] * len(columns)),
        high=(200.0, *[5.0] * len(columns)),
    )


def of_losses(x: Columns, target: Array, shapes: Array) -> Array:
    """Starts (log E, log A, log B, shape) [S 3+K] of E + two falling terms that are A and B at the
    centre of the data, for each row of `shapes` [M K]: E is a share of the lowest loss, and the two
    terms are the rest of the median loss.
    """
    del x
    lowest, median = float(target.min()), float(np.median(target))
    heads = []
    for share, split in product((0.3, 0.6, 0.85), (0.25, 0.5, 0.75)):
        remaining = median - share * lowest
        heads.append(np.log([share * lowest, split * remaining, (1 - split) * remaining]))
    return np.array([[*head, *shape] for head in heads for shape in shapes])


def grid(*axes) -> Array:
    """Every combination of the axes' values: thetas [S P]."""
    return np.array(list(product(*axes)), np.float64)
