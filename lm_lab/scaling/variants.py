"""How far the answer depends on arbitrary choices: objective, outliers, window, curve, budgets.

On the published Chinchilla points such choices alone move the exponent a from .51 to .57: one fit
alone is no answer.
"""

from collections.abc import Callable

import numpy as np

from lm_lab.scaling.interpolants import Curve, akima, cubic, vertex
from lm_lab.scaling.laws import fit_law, straight
from lm_lab.scaling.optimum import Cost, exponent_over, optimal_params
from lm_lab.scaling.outliers import surface_outliers
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Refusal, Variant
from lm_lab.scaling.surface import SurfaceFit, fit_surface
from lm_lab.scaling.valleys import fit_valleys
from lm_lab.scaling.variable_projection import project
from lm_lab.scaling.windows import WINDOW

Array = np.ndarray
MOST_BUDGETS = (
    12  # with more budgets there are no variants without each of them: a single one decides little
)


def surface_variants(points: Points, fit: SurfaceFit, cost: Cost) -> list[Variant]:
    """Variants of approach 3, and variable projection.

    Approach 3 as fitted; by least squares; without its outliers (or its worst point); without each
    budget in turn.
    """
    outliers = surface_outliers(fit)
    worst = np.abs(fit.residuals) == np.abs(fit.residuals).max()
    typical, name = (
        (~outliers, "without outliers") if outliers.any() else (~worst, "without the worst point")
    )
    subsets = {name: points.where(typical), **_without_each_budget(points)}
    thetas: dict[str, Array | None] = {"approach 3": fit.theta}
    thetas["approach 3, least squares"] = _theta(fit_surface(points, huber=np.inf))
    thetas |= {
        f"approach 3 {name}": _theta(fit_surface(subset)) for name, subset in subsets.items()
    }
    thetas["variable projection"] = project(points)
    ends = _ends(points)
    return [_of_surface(name, theta, ends, cost) for name, theta in thetas.items()]


def valley_variants(points: Points, typical: Points) -> list[Variant]:
    """Variants of approach 2: on the `typical` points as fitted, with plain parabolas, with other
    windows and curves, on all points, and without each budget.
    """
    if not len(points):
        return []
    ends = _ends(points)
    variants = [
        _of_valleys("approach 2", typical, ends),
        _of_valleys("approach 2, parabolas without skew", typical, ends, skewed=False),
        _of_valleys(f"approach 2, window x{WINDOW / 2:g}", typical, ends, factor=WINDOW / 2),
        _of_valleys("approach 2, all sizes", typical, ends, factor=np.inf),
        _of_curves("approach 2, a cubic a budget", typical, ends, cubic),
        _of_curves("approach 2, Akima's spline", typical, ends, akima),
    ]
    if len(points) > len(typical):
        variants.append(_of_valleys("approach 2 with outliers", points, ends))
    subsets = _without_each_budget(typical)
    return variants + [
        _of_valleys(f"approach 2 {name}", subset, ends) for name, subset in subsets.items()
    ]


def _without_each_budget(points: Points) -> dict[str, Points]:
    budgets = points.budgets()
    if not 3 <= len(budgets) <= MOST_BUDGETS:
        return {}
    return {f"without budget {b:.3g}": points.where(points.budget != b) for b in budgets}


def _ends(points: Points) -> Array:
    return np.array([points.flops.min(), points.flops.max()])


def _theta(fit: SurfaceFit | Refusal) -> Array | None:
    return None if isinstance(fit, Refusal) else fit.theta


def _of_surface(name: str, theta: Array | None, ends: Array, cost: Cost) -> Variant:
    if theta is None or not np.isfinite(theta[[1, 3]]).all():
        return _refused(name, ends)
    params = optimal_params(theta, ends, cost)
    if np.isnan(params).any():
        return _refused(name, ends)
    tokens = ends[1] / cost(params[1])
    return _variant(name, ends, float(exponent_over(ends, params)), params[1], tokens)


def _of_valleys(
    name: str, points: Points, ends: Array, *, factor: float = WINDOW, skewed: bool = True
) -> Variant:
    fits = fit_valleys(points, factor=factor, skewed=skewed).good()
    params, tokens = fit_law("params", fits, 0.0), fit_law("tokens", fits, 0.0)
    if isinstance(params, Refusal) or isinstance(tokens, Refusal):
        return _refused(name, ends)
    exponent = params.law.exponent.value
    return _variant(name, ends, exponent, params.law.at(ends[1]), tokens.law.at(ends[1]))


def _of_curves(
    name: str, points: Points, ends: Array, curve: Callable[[Array, Array], Curve]
) -> Variant:
    groups = [points.where(points.budget == budget) for budget in points.budgets()]
    vertices = [optimum for group in groups if (optimum := vertex(group, curve)) is not None]
    if len(vertices) < 2:
        return _refused(name, ends)
    log_params, log_tokens, log_flops = np.array(vertices).T
    laws = [straight(log_flops, logs) for logs in (log_params, log_tokens)]
    params, tokens = (np.exp(law[1] + law[2] * np.log(ends[1])) for law in laws)
    return _variant(name, ends, laws[0][2], params, tokens)


def _refused(name: str, ends: Array) -> Variant:
    return Variant(name, float(ends[1]), None, None, None, None)


def _variant(name: str, ends: Array, exponent: float, params: float, tokens: float) -> Variant:
    return Variant(name, *map(float, (ends[1], exponent, params, tokens, tokens / params)))
