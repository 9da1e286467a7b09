"""How far the answer depends on arbitrary choices: objective, outlier rule, budgets, method.

On the published Chinchilla points such choices alone move the exponent a from .51 to .57: one fit
alone is no answer.
"""

import numpy as np

from lm_lab.scaling.laws import fit_law
from lm_lab.scaling.optimum import Cost, exponent_over, optimal_params
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Refusal, Variant
from lm_lab.scaling.surface import SurfaceFit, fit_surface
from lm_lab.scaling.valleys import ValleyFit, fit_valley
from lm_lab.scaling.variable_projection import project

Array = np.ndarray


def surface_variants(points: Points, fit: SurfaceFit, cost: Cost) -> list[Variant]:
    """Variants of approach 3, and variable projection.

    Approach 3 as fitted; by least squares; without its outliers (or its worst point); without each
    budget in turn.
    """
    outliers = fit.outliers()
    worst = np.abs(fit.residuals) == np.abs(fit.residuals).max()
    rest, name = (
        (~outliers, "without outliers") if outliers.any() else (~worst, "without the worst point")
    )
    subsets = {name: points.where(rest), **_without_each_budget(points)}
    thetas: dict[str, Array | None] = {"approach 3": fit.theta}
    thetas["approach 3, least squares"] = _theta(fit_surface(points, huber=np.inf))
    thetas |= {
        f"approach 3 {name}": _theta(fit_surface(subset)) for name, subset in subsets.items()
    }
    thetas["variable projection"] = project(points)
    ends = _ends(points)
    return [_of_surface(name, theta, ends, cost) for name, theta in thetas.items()]


def valley_variants(points: Points, typical: Points) -> list[Variant]:
    """Variants of approach 2: on the `typical` points, on all points, and without each budget."""
    if not len(points):
        return []
    subsets = {"": typical} | ({" with outliers": points} if len(points) > len(typical) else {})
    subsets |= {f" {name}": subset for name, subset in _without_each_budget(typical).items()}
    ends = _ends(points)
    return [_of_valleys(f"approach 2{name}", subset, ends) for name, subset in subsets.items()]


def fit_valleys(
    points: Points, level: float, resamples: int, rng: np.random.Generator
) -> list[ValleyFit | Refusal]:
    """Each budget's valley or refusal, smallest budget first."""
    return [
        fit_valley(points.where(points.budget == b), level, resamples, rng)
        for b in points.budgets()
    ]


def _without_each_budget(points: Points) -> dict[str, Points]:
    budgets = points.budgets()
    if len(budgets) < 3:
        return {}
    return {f"without budget {b:.3g}": points.where(points.budget != b) for b in budgets}


def _ends(points: Points) -> Array:
    return np.array([points.flops.min(), points.flops.max()])


def _theta(fit: SurfaceFit | Refusal) -> Array | None:
    return None if isinstance(fit, Refusal) else fit.theta


def _of_surface(name: str, theta: Array | None, ends: Array, cost: Cost) -> Variant:
    if theta is None or not np.isfinite(theta[[1, 3]]).all():
        return Variant(name, float(ends[1]), None, None, None, None)
    params = optimal_params(theta, ends, cost)
    if np.isnan(params).any():
        return Variant(name, float(ends[1]), None, None, None, None)
    tokens = ends[1] / cost(params[1])
    return _variant(name, ends, float(exponent_over(ends, params)), params[1], tokens)


def _of_valleys(name: str, points: Points, ends: Array) -> Variant:
    fits = [
        fit
        for fit in fit_valleys(points, 0.0, 0, np.random.default_rng(0))
        if isinstance(fit, ValleyFit)
    ]
    params, tokens = fit_law("params", fits, 0.0), fit_law("tokens", fits, 0.0)
    if isinstance(params, Refusal) or isinstance(tokens, Refusal):
        return Variant(name, float(ends[1]), None, None, None, None)
    return _variant(
        name, ends, params.law.exponent.value, params.law.at(ends[1]), tokens.law.at(ends[1])
    )


def _variant(name: str, ends: Array, exponent: float, params: float, tokens: float) -> Variant:
    return Variant(name, *map(float, (ends[1], exponent, params, tokens, tokens / params)))
