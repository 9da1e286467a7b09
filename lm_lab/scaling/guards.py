"""Refusals of answers that a fit cannot support, although the fit itself exists."""

import numpy as np

from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Frontier, Refusal
from lm_lab.scaling.surface import STEEPEST, SurfaceFit

Array = np.ndarray
FAR = 10.0  # a factor in N beyond the sizes run


def refuse_bound(fit: SurfaceFit) -> Refusal | None:
    """Refuses a surface whose alpha or beta lies at a bound: it is not of this form here."""
    for name, value in (("alpha", fit.theta[2]), ("beta", fit.theta[4])):
        if value < 1e-3 or value > STEEPEST - 1e-3:
            message = f"{name} = {value:.3g} lies at its bound, so no optimum follows from the fit"
            return Refusal("parameter at a bound", "approach 3", message)
    return None


def refuse_far(points: Points, optima: Array) -> Refusal | None:
    """Refuses N* `optima` a factor of FAR or more beyond the sizes of the points."""
    low, high = points.params.min(), points.params.max()
    if low / FAR <= optima.min() and optima.max() <= high * FAR:
        return None
    message = (
        f"N* is {optima.min():.3g} to {optima.max():.3g} over the budgets, the sizes run are "
        f"{low:.3g} to {high:.3g}: no optimum is given so far outside them"
    )
    return Refusal("optimum far outside the data", "approach 3", message)


def refuse_exponents(found: Frontier) -> Refusal | None:
    """Refuses exponents of N* or D* outside (0, 1): more compute never wants less of either."""
    a, b = found.exponent_params.value, found.exponent_tokens.value
    if 0 < a < 1 and 0 < b < 1:
        return None
    message = f"N* goes as C^{a:.2f} and D* as C^{b:.2f}: the valleys or their budgets are at fault"
    return Refusal("exponent outside (0, 1)", found.method, message)
