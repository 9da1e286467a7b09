"""Fits any law of scaling/forms: one robust fit and one kind of interval for all of them.

The fit is an M-estimate. All starts are scored at once; the best are minimised by near-L1 Huber
losses, which give the scale s of the noise from the residuals that the parameters did not absorb;
from there a Huber loss with the threshold 2 s ends it (99 % of least squares' efficiency on
Gaussian noise, yet no point pulls without bound). Intervals come from simulated tables, fitted
again: the law with Gaussian noise of the M-estimate's own variance, itself drawn by its chi-square
distribution. So they are Student's in a linear law, and hold for five points as for fifty.

A table's column "runs" (seeds that a row is the mean of) is its weight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.contract import Array, Columns, Form, FormFit, Parameter
from lm_lab.scaling.descent import Model, complex_step, descend, huber_losses
from lm_lab.scaling.records import Caution, Refusal

NEAR_L1 = 1e-3  # Huber threshold of the first descent, as in 2203.15556
EFFICIENT = 2.0  # Huber threshold of the last, in noise s.d.
BEST_STARTS = 32
ILL_CONDITIONED = 100.0


class Curve(NamedTuple):
    """A law in coordinates that are easy to fit.

    x holds the logs of the input columns less their means, f64[n] each; `centre` these means. theta
    is a sequence of P arrays that broadcast against them, complex in derivatives: `predict` may use
    analytic functions alone.
    """

    inputs: tuple[str, ...]
    predict: Callable[[Sequence[Array], Columns], Array]  # theta, x -> the target
    parameters: tuple[tuple[str, str], ...]  # names and units of the published parameters
    # theta, centre -> one array a published parameter
    publish: Callable[[Sequence[Array], Mapping[str, float]], Sequence[Array]]
    # x, target [n] -> thetas to start from [S P]
    starts: Callable[[Columns, Array], Array]
    low: tuple[float, ...]
    high: tuple[float, ...]
    relative: bool = True  # whether the noise is in log(target)
    # the column whose centre a column shares, or itself: a centre of 0, where ratios of columns or
    # their own size matter
    centres: Mapping[str, str] = MappingProxyType({})


class Reduced(NamedTuple):
    """The columns that a law is fitted to, and what was left out on the way."""

    columns: Columns
    cautions: tuple[Caution, ...] = ()


def form(
    name: str,
    formula: str,
    source: str,
    target: str,
    curve: Curve,
    needs: tuple[str, ...] | None = None,
    optional: tuple[str, ...] = ("runs",),
    reduce: Callable[[Columns], Reduced | Refusal] = Reduced,
    estimator: Callable[..., Fitted | Refusal] | None = None,
) -> Form:
    """The form of a curve: fitted to what `reduce` makes of a table's columns (default: the same),
    by `estimator(data, resamples, rng)` (default: m_estimate).
    """

    def fit(columns: Columns, level: float, resamples: int, seed: int) -> FormFit | Refusal:
        reduced = reduce(columns)
        if isinstance(reduced, Refusal):
            return reduced
        usable, left_out = usable_rows(name, (*curve.inputs, target), reduced.columns)
        refusal = _too_little(name, curve, usable)
        if refusal:
            return refusal
        data = Data.of(curve, target, usable)
        fitted = (estimator or m_estimate)(data, resamples, np.random.default_rng(seed))
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
        value = _evaluate(curve, np.array([fit.theta]), x)[0]
        return value, *_interval(_evaluate(curve, np.array(fit.draws), x), level)

    return Form(
        name, formula, source, target, needs or (*curve.inputs, target), fit, predict, optional
    )


@dataclass(frozen=True)
class Data:
    """The points of a fit: x as in Curve, `scaled` the target (its log where relative), [n]."""

    curve: Curve
    name: str
    x: Columns
    centre: Mapping[str, float]
    target: Array
    scaled: Array
    weight: Array  # of mean 1

    @classmethod
    def of(cls, curve: Curve, name: str, columns: Columns) -> "Data":
        logs = {key: np.log(columns[key]) for key in curve.inputs}
        means = {key: float(log.mean()) for key, log in logs.items()}
        centre = {key: means[curve.centres.get(key, key)] for key in curve.inputs}
        centre |= {key: 0.0 for key, of in curve.centres.items() if key == of}
        x = {key: log - centre[key] for key, log in logs.items()}
        target, runs = columns[name], columns["runs"]
        scaled = np.log(target) if curve.relative else target
        return cls(curve, name, x, centre, target, scaled, runs / runs.mean())

    @property
    def model(self) -> Model:
        def predict(theta: Array) -> Array:
            value = _evaluate(self.curve, theta, self.x)
            return np.log(value) if self.curve.relative else value

        low, high = np.array(self.curve.low), np.array(self.curve.high)
        return Model(predict, complex_step(predict), low, high)

    @property
    def freedom(self) -> int:
        return len(self.target) - len(self.curve.low)


@dataclass(frozen=True)
class Fitted:
    """A fit and its resamples: theta [P] and `draws` [R P], both of centred columns.

    `noise` is the residual s.d. (scaled, at a point of mean weight), corrected for the parameters.
    """

    theta: Array
    draws: Array
    noise: float


def _evaluate(curve: Curve, theta: Array, x: Columns) -> Array:
    """The target [R n] of thetas [R P]."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value = curve.predict([theta[:, k, None] for k in range(theta.shape[1])], x)
    return np.broadcast_to(value, (len(theta), len(next(iter(x.values())))))


def m_estimate(data: Data, resamples: int, rng: np.random.Generator) -> Fitted:
    """The robust fit of this module, with intervals from simulated tables."""
    theta, noise = _fit(data)
    return Fitted(theta, simulate(data, theta, noise, resamples, rng), noise)


def simulate(
    data: Data, theta: Array, noise: float, resamples: int, rng: np.random.Generator
) -> Array:
    """Thetas [R P] of tables with Gaussian noise about the law, fitted by least squares."""
    freedom, model = data.freedom, data.model
    scale = noise * np.sqrt(freedom / rng.chisquare(freedom, size=(resamples, 1)))
    errors = rng.standard_normal((resamples, len(data.target))) / np.sqrt(data.weight)
    simulated = model.predict(theta[None]) + scale * errors
    starts = np.broadcast_to(theta, (resamples, len(theta)))
    return descend(model, simulated, data.weight, starts, steps=50, tolerance=1e-8)[0]


def _fit(data: Data) -> tuple[Array, float]:
    """theta [P], and the s.d. of Gaussian noise by which least squares is as uncertain as it."""
    model, starts = data.model, data.curve.starts(data.x, data.target)
    starts = np.clip(starts, model.low, model.high)
    score = huber_losses(model.predict(starts) - data.scaled, NEAR_L1) @ data.weight
    chosen = starts[np.argsort(np.nan_to_num(score, nan=np.inf), kind="stable")[:BEST_STARTS]]
    ends, value = descend(model, data.scaled, data.weight, chosen, NEAR_L1)
    theta = ends[np.argmin(value)]
    residual = data.scaled - model.predict(theta[None])[0]
    # a nearly L1 fit passes through as many points as it has parameters: they say nothing of noise
    sizes = np.sort(np.abs(residual) * np.sqrt(data.weight))[len(theta) :]
    threshold = max(EFFICIENT * float(np.median(sizes)) / 0.6745, 1e-12)
    ends, _ = descend(model, data.scaled, data.weight, theta[None], threshold)
    residual = data.scaled - model.predict(ends)[0]
    bounded, inside = np.clip(residual, -threshold, threshold), np.abs(residual) <= threshold
    variance = np.sum(data.weight * bounded**2) / data.freedom
    share = max(np.average(inside, weights=data.weight), 1 / len(residual))
    few = 1 + len(theta) / len(residual) * (1 - share) / share  # Huber 1981, section 7.6
    return ends[0], float(np.sqrt(variance) / share * few)


def _published(data: Data, theta: Array) -> Array:
    """The published parameters [R Q] of thetas [R P]."""
    with np.errstate(over="ignore"):
        found = data.curve.publish(list(theta.T), data.centre)
    return np.nan_to_num(np.stack(np.broadcast_arrays(*found), -1))


def _interval(drawn: Array, level: float) -> tuple[Array, Array]:
    """The pointwise percentile interval [n] of curves [R n]."""
    low, high = np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high


def _summary(data: Data, fitted: Fitted, level: float) -> dict:
    curve, theta = data.curve, fitted.theta[None]
    values, drawn = _published(data, theta)[0], _published(data, fitted.draws).T
    curves = _evaluate(curve, fitted.draws, data.x).T
    (predicted,), (scaled,) = _evaluate(curve, theta, data.x), data.model.predict(theta)
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
    jacobian = data.model.linearise(theta[None])[1][0] * np.sqrt(data.weight)
    jacobian = jacobian / np.maximum(np.linalg.norm(jacobian, axis=1, keepdims=True), 1e-300)
    return min(float(np.linalg.cond(jacobian)), 1 / np.finfo(np.float64).eps)


def _cautions(name: str, data: Data, fitted: Fitted) -> list[Caution]:
    """Reasons to doubt this fit."""
    found, curve = [], data.curve
    low, high = np.array(curve.low), np.array(curve.high)
    at_bound = np.minimum(fitted.theta - low, high - fitted.theta) < 1e-6 * (high - low)
    if at_bound.any():
        message = (
            f"{at_bound.sum()} of {len(low)} parameters lie at the bounds of the search: the data "
            "do not support a law of this form"
        )
        found.append(Caution("parameter at a bound", name, message))
    condition = _condition(data, fitted.theta)
    if condition > ILL_CONDITIONED:
        message = f"condition number {condition:.0f}: the points hardly tell the parameters apart"
        found.append(Caution("badly conditioned", name, message))
    scaled = data.model.predict(fitted.theta[None])[0]
    far = np.abs(data.scaled - scaled) * np.sqrt(data.weight) > 5 * max(fitted.noise, 1e-9)
    if far.any():
        message = f"{far.sum()} of {len(far)} points lie beyond 5 s.d. of the law"
        found.append(Caution("outlier", name, message))
    irreducible = [k for k, (named, _) in enumerate(curve.parameters) if named == "E"]
    if irreducible and len(fitted.draws):
        drawn = _published(data, fitted.draws)[:, irreducible[0]]
        share = np.mean(drawn < 0.05 * data.target.min())
        if share > 0.05:
            message = f"E is under 5 % of the lowest loss in {share:.0%} of the resamples"
            found.append(Caution("irreducible loss near 0", name, message))
    return found


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


def _too_little(name: str, curve: Curve, columns: Columns) -> Refusal | None:
    rows, needed = len(columns["runs"]), len(curve.low) + 1
    if rows < needed:
        message = f"{rows} points; {len(curve.low)} parameters and a residual need {needed}"
        return Refusal("too few points", name, message)
    for key in curve.inputs:
        if len(np.unique(columns[key])) < 2:
            return Refusal("too few points", name, f"every point has the same {key}")
    return None
