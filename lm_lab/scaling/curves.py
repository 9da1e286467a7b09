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
from typing import NamedTuple

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.contract import Array, Columns, Form, FormFit, Parameter
from lm_lab.scaling.descent import Model, complex_step, descend, huber_sum
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
) -> Form:
    """The form of a curve. `reduce` makes the fitted columns of the table's (default: the same)."""

    def fit(columns: Columns, level: float, resamples: int, seed: int) -> FormFit | Refusal:
        reduced = reduce(columns)
        if isinstance(reduced, Refusal):
            return reduced
        usable, left_out = _usable(name, (*curve.inputs, target), reduced.columns)
        refusal = _too_little(name, curve, usable)
        if refusal:
            return refusal
        table = _Table.of(curve, target, usable)
        best = _fit(table)
        draws = _simulate(table, best, resamples, np.random.default_rng(seed))
        return FormFit(
            name,
            formula,
            source,
            **_summary(table, best, draws, level),
            cautions=(*reduced.cautions, *left_out, *_cautions(name, table, best, draws)),
        )

    def predict(fit: FormFit, columns: Columns, level: float) -> tuple[Array, Array, Array]:
        x = {key: np.log(columns[key]) - fit.centre[key] for key in curve.inputs}
        value = _evaluate(curve, np.array([fit.theta]), x)[0]
        return value, *_interval(_evaluate(curve, np.array(fit.draws), x), level)

    return Form(
        name, formula, source, target, needs or (*curve.inputs, target), fit, predict, optional
    )


@dataclass(frozen=True)
class _Table:
    """The points of a fit: x as in Curve, `scaled` the target (its log where relative), [n]."""

    curve: Curve
    name: str
    x: Columns
    centre: Mapping[str, float]
    target: Array
    scaled: Array
    weight: Array  # of mean 1

    @classmethod
    def of(cls, curve: Curve, name: str, columns: Columns) -> "_Table":
        logs = {key: np.log(columns[key]) for key in curve.inputs}
        centre = {key: float(log.mean()) for key, log in logs.items()}
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
class _Best:
    """The fit: theta [P], residuals [n] (observed - predicted, scaled), their robust s.d., the s.d.
    of Gaussian noise with which least squares is as uncertain as this fit, and the Jacobian [P n].
    """

    theta: Array
    residual: Array
    robust: float
    noise: float
    jacobian: Array


def _evaluate(curve: Curve, theta: Array, x: Columns) -> Array:
    """The target [R n] of thetas [R P]."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        value = curve.predict([theta[:, k, None] for k in range(theta.shape[1])], x)
    return np.broadcast_to(value, (len(theta), len(next(iter(x.values())))))


def _fit(table: _Table) -> _Best:
    model, starts = table.model, table.curve.starts(table.x, table.target)
    starts = np.clip(starts, model.low, model.high)
    score = huber_sum(model.predict(starts) - table.scaled, table.weight, NEAR_L1)
    chosen = starts[np.argsort(np.nan_to_num(score, nan=np.inf), kind="stable")[:BEST_STARTS]]
    ends, value = descend(model, table.scaled, table.weight, chosen, NEAR_L1)
    theta = ends[np.argmin(value)]
    root = np.sqrt(table.weight)
    sizes = np.sort(np.abs(model.predict(theta[None])[0] - table.scaled) * root)
    # a nearly L1 fit passes through as many points as it has parameters: they say nothing of noise
    robust = float(np.median(sizes[len(theta) :])) / 0.6745
    threshold = max(EFFICIENT * robust, 1e-12)
    # weights of the seeds outside the Huber loss, which is of the noise of one row of mean weight
    ends, _ = descend(model, table.scaled, table.weight, theta[None], threshold)
    predicted, jacobian = model.linearise(ends)
    residual = table.scaled - predicted[0]
    bounded, inside = np.clip(residual, -threshold, threshold), np.abs(residual) <= threshold
    variance = np.sum(table.weight * bounded**2) / table.freedom
    share = max(np.average(inside, weights=table.weight), 1 / len(residual))
    few = 1 + len(theta) / len(residual) * (1 - share) / share  # Huber 1981, section 7.6
    return _Best(ends[0], residual, robust, float(np.sqrt(variance) / share * few), jacobian[0])


def _simulate(table: _Table, best: _Best, resamples: int, rng: np.random.Generator) -> Array:
    """Thetas [R P] of simulated tables."""
    freedom, model = table.freedom, table.model
    scale = best.noise * np.sqrt(freedom / rng.chisquare(freedom, size=(resamples, 1)))
    noise = rng.standard_normal((resamples, len(table.target))) / np.sqrt(table.weight)
    simulated = table.scaled - best.residual + scale * noise
    starts = np.broadcast_to(best.theta, (resamples, len(best.theta)))
    return descend(model, simulated, table.weight, starts, steps=50, tolerance=1e-8)[0]


def _published(table: _Table, theta: Array) -> Array:
    """The published parameters [R Q] of thetas [R P]."""
    with np.errstate(over="ignore"):
        found = table.curve.publish(list(theta.T), table.centre)
    return np.nan_to_num(np.stack(np.broadcast_arrays(*found), -1))


def _interval(drawn: Array, level: float) -> tuple[Array, Array]:
    """The pointwise percentile interval [n] of curves [R n]."""
    low, high = np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high


def _summary(table: _Table, best: _Best, draws: Array, level: float) -> dict:
    curve = table.curve
    values, drawn = _published(table, best.theta[None])[0], _published(table, draws).T
    curves = _evaluate(curve, draws, table.x).T
    (predicted,) = _evaluate(curve, best.theta[None], table.x)
    scaled = best.jacobian * np.sqrt(table.weight)
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-300)
    condition = min(float(np.linalg.cond(scaled)), 1 / np.finfo(np.float64).eps)
    inputs = {key: np.exp(x + table.centre[key]) for key, x in table.x.items()}
    return {
        "parameters": tuple(
            Parameter(name, unit, estimate(value, column, level))
            for (name, unit), value, column in zip(curve.parameters, values, drawn)
        ),
        "target": table.name,
        "relative": curve.relative,
        "inputs": {key: tuple(map(float, column)) for key, column in inputs.items()},
        "observed": tuple(map(float, table.target)),
        "predicted": tuple(estimate(v, column, level) for v, column in zip(predicted, curves)),
        "residuals": tuple(map(float, best.residual)),
        "noise": best.noise,
        "condition": condition,
        "theta": tuple(map(float, best.theta)),
        "centre": dict(table.centre),
        "draws": tuple(tuple(map(float, draw)) for draw in draws),
    }


def _cautions(name: str, table: _Table, best: _Best, draws: Array) -> list[Caution]:
    del draws
    found, curve = [], table.curve
    for k, theta in enumerate(best.theta):
        span = curve.high[k] - curve.low[k]
        if min(theta - curve.low[k], curve.high[k] - theta) < 1e-6 * span:
            message = (
                f"coordinate {k + 1} of the fit lies at its bound, {theta:.3g}: the law is not of "
                "this form here"
            )
            found.append(Caution("parameter at a bound", name, message))
    return found


def _usable(
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
