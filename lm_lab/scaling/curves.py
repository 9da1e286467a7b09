"""Makes a law of scaling/forms of a curve: checks of the table, the fit, its record, cautions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lm_lab.scaling.bootstrap import estimate, percents
from lm_lab.scaling.contract import Array, Columns, Form, FormFit, Parameter
from lm_lab.scaling.estimation import (
    DECISIVE,
    Curve,
    Data,
    Decisive,
    Fitted,
    decisive_points,
    evaluate,
    jacobian,
    m_estimate,
)
from lm_lab.scaling.records import Caution, Refusal

ILL_CONDITIONED = 100.0


class Reduced(NamedTuple):
    """The columns that a law is fitted to, and what was left out on the way.

    `spread` as in estimation.Data: of rows that can all be used.
    """

    columns: Columns
    cautions: tuple[Caution, ...] = ()
    spread: Array | None = None


def form(
    name: str,
    formula: str,
    source: str,
    target: str,
    curve: Curve,
    needs: tuple[str, ...] | None = None,
    optional: tuple[str, ...] = ("runs",),
    reduce: Callable[[Columns], Reduced | Refusal] = Reduced,
    estimator: Callable[[Data, int, np.random.Generator], Fitted | Refusal] = m_estimate,
) -> Form:
    """The form of a curve: fitted to what `reduce` makes of a table's columns (default: the same),
    by `estimator(data, resamples, rng)` (default: m_estimate).
    """

    def fit(columns: Columns, level: float, resamples: int, seed: int) -> FormFit | Refusal:
        reduced = reduce(columns)
        if isinstance(reduced, Refusal):
            return reduced
        usable, left_out = usable_rows(name, (*curve.inputs, target), reduced.columns)
        refusal = _too_little(name, target, curve, usable)
        if refusal:
            reasons = [caution.message for caution in (*reduced.cautions, *left_out)]
            return replace(refusal, message="; ".join([refusal.message, *reasons[:1]]))
        data = Data.of(curve, target, usable, reduced.spread)
        fitted = estimator(data, resamples, np.random.default_rng(seed))
        if isinstance(fitted, Refusal):
            return fitted
        return FormFit(
            name,
            formula,
            source,
            **_summary(data, fitted, level),
            cautions=(*reduced.cautions, *left_out, *_cautions(name, data, fitted)),
        )

    def predict(fit: FormFit, columns: Columns, level: float) -> tuple[Array, Array, Array]:
        x = {key: np.log(columns[key]) - fit.centre[key] for key in curve.inputs}
        value = evaluate(curve, np.array([fit.theta]), x)[0]
        if not fit.draws:
            return value, value, value
        ends = percents(level, len(fit.draws))
        low, high = np.percentile(evaluate(curve, np.array(fit.draws), x), ends, axis=0)
        return value, low, high

    return Form(
        name, formula, source, target, needs or (*curve.inputs, target), fit, predict, optional
    )


def _published(data: Data, theta: Array) -> Array:
    """The published parameters [R Q] of thetas [R P]."""
    with np.errstate(over="ignore"):
        published = data.curve.publish(list(theta.T), data.centre)
    return np.nan_to_num(np.stack(np.broadcast_arrays(*published), -1))


def _summary(data: Data, fitted: Fitted, level: float) -> dict:
    curve, theta = data.curve, fitted.theta[None]
    values, drawn = _published(data, theta)[0], _published(data, fitted.draws).T
    curves = evaluate(curve, fitted.draws, data.x).T
    (predicted,), (scaled,) = evaluate(curve, theta, data.x), data.model.predict(theta)
    inputs = {key: np.exp(x + data.centre[key]) for key, x in data.x.items()}
    return {
        "parameters": tuple(
            Parameter(name, unit, estimate(value, column, level))
            for (name, unit), value, column in zip(curve.parameters, values, drawn)
        ),
        "target": data.name,
        "relative": curve.relative,
        "inputs": {key: _plain(column) for key, column in inputs.items()},
        "observed": _plain(data.target),
        "predicted": tuple(estimate(v, column, level) for v, column in zip(predicted, curves)),
        "residuals": _plain(data.scaled - scaled),
        "noise": fitted.noise,
        "condition": _condition(data, fitted.theta),
        "theta": _plain(fitted.theta),
        "centre": dict(data.centre),
        "draws": tuple(map(_plain, fitted.draws)),
    }


def _plain(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))


def _condition(data: Data, theta: Array) -> float:
    return min(float(np.linalg.cond(jacobian(data, theta))), 1 / np.finfo(np.float64).eps)


def _cautions(name: str, data: Data, fitted: Fitted) -> list[Caution]:
    """Reasons to doubt this fit."""
    cautions, curve = [], data.curve
    low, high = np.array(curve.low), np.array(curve.high)
    at_bound = np.minimum(fitted.theta - low, high - fitted.theta) < 1e-6 * (high - low)
    if at_bound.any():
        message = (
            f"{at_bound.sum()} of {len(low)} parameters lie at the bounds of the search: the data "
            "do not support a law of this form"
        )
        cautions.append(Caution("parameter at a bound", name, message))
    condition = _condition(data, fitted.theta)
    if condition > ILL_CONDITIONED:
        message = f"condition number {condition:.0f}: the points hardly tell the parameters apart"
        cautions.append(Caution("badly conditioned", name, message))
    decisive = decisive_points(data, fitted.theta)
    if decisive:
        cautions.append(_decided(name, data, fitted, decisive))
    scaled = data.model.predict(fitted.theta[None])[0]
    is_outlier = np.abs(data.scaled - scaled) * np.sqrt(data.weight) > 5 * max(fitted.noise, 1e-9)
    if is_outlier.any():
        message = f"{is_outlier.sum()} of {len(is_outlier)} points lie beyond 5 s.d. of the law"
        cautions.append(Caution("outlier", name, message))
    irreducible = [
        index for index, (parameter, _) in enumerate(curve.parameters) if parameter == "E"
    ]
    if irreducible and len(fitted.draws):
        irreducible_draws = _published(data, fitted.draws)[:, irreducible[0]]
        share = np.mean(irreducible_draws < 0.05 * data.target.min())
        if share > 0.05:
            message = f"E is under 5 % of the lowest loss in {share:.0%} of the resamples"
            cautions.append(Caution("irreducible loss near 0", name, message))
    return cautions


def _decided(name: str, data: Data, fitted: Fitted, decisive: Sequence[Decisive]) -> Caution:
    """The caution that names the decisive points, and the law without each."""
    message = (
        f"{len(decisive)} of {len(data.target)} points have a leverage above {DECISIVE:g}: a fault "
        "in such a point moves the law and hardly shows as a residual, and no interval holds it; "
        f"run it again, or add runs near it. {'; '.join(_without(data, p) for p in decisive)}"
    )
    if fitted.doubted is not None:
        where = _place(data, fitted.doubted)
        message += f"; the others reject the point at {where}: half of the draws are without it"
    return Caution("decided by one point", name, message)


def _without(data: Data, point: Decisive) -> str:
    """The parameters of the law that the others give."""
    names = [parameter for parameter, _ in data.curve.parameters]
    values = zip(names, _published(data, point.theta[None])[0])
    found = ", ".join(f"{name} {value:.3g}" for name, value in values)
    return f"without {_place(data, point.row)}: {found}"


def _place(data: Data, row: int) -> str:
    """A point by its inputs."""
    inputs = data.x.items()
    return ", ".join(f"{key} {np.exp(x[row] + data.centre[key]):.3g}" for key, x in inputs)


def usable_rows(
    name: str, needs: tuple[str, ...], columns: Columns
) -> tuple[dict[str, Array], list[Caution]]:
    """The columns of the rows that are finite and above 0 throughout, "runs" among them."""
    values = {key: np.asarray(columns[key], np.float64) for key in needs}
    runs = columns.get("runs", np.ones(len(values[needs[0]])))
    values["runs"] = np.where(np.isfinite(runs), runs, 1.0)
    good = np.all([np.isfinite(column) & (column > 0) for column in values.values()], axis=0)
    cautions = []
    if not good.all():
        message = f"{np.sum(~good)} rows lack a finite value above 0 of {', '.join(needs)}"
        cautions.append(Caution("row left out", name, message))
    return {key: column[good] for key, column in values.items()}, cautions


def _too_little(name: str, target: str, curve: Curve, columns: Columns) -> Refusal | None:
    rows, needed = len(columns["runs"]), len(curve.low) + 1
    if rows < needed:
        points = "1 point" if rows == 1 else f"{rows} points"
        message = f"{points}; {len(curve.low)} parameters and a residual need {needed}"
        return Refusal("too few points", name, message)
    for key in (*curve.inputs, target):
        if len(np.unique(columns[key])) < 2:
            return Refusal("too few points", name, f"every point has the same {key}")
    return None
