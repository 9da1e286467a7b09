"""Predicts the largest budget from the smaller ones, by every law, and compares."""

from dataclasses import dataclass

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.laws import LawFit, Quantity
from lm_lab.scaling.optimum import MeasuredCost, optimal_params
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Caution, Estimate, HeldOut, Predictor
from lm_lab.scaling.shapes import skewed_square
from lm_lab.scaling.surface import SurfaceFit, log_loss
from lm_lab.scaling.valleys import Valleys

Array = np.ndarray


@dataclass(frozen=True)
class Evidence:
    """The runs at the held-out budget, and every law that was fitted without them."""

    held: Points
    surface: SurfaceFit | None
    thetas: Array  # f64[R 5]
    cost: MeasuredCost | None
    laws: dict[Quantity, LawFit]
    valleys: Valleys


def compare_all(
    evidence: Evidence, budget: float, level: float, rng: np.random.Generator
) -> list[HeldOut]:
    """Every law's prediction of the lowest loss, of N* and of D* beside what was observed.

    N* and D* are observed only where the held-out budget has a valley of its own.
    """
    held_out, laws, comparisons = evidence.held, evidence.laws, []
    if evidence.surface is not None:
        predicted = predict_loss(
            evidence.surface, evidence.thetas, held_out.params, held_out.tokens, level, rng
        )
        comparisons.append(compare(held_out, budget, "surface", predicted))
    if "loss" in laws and "params" in laws:
        predicted = predict_from_laws(
            laws["loss"], laws["params"], evidence.valleys, held_out, level, rng
        )
        comparisons.append(compare(held_out, budget, "valley power law", predicted))
    return comparisons + _optima(evidence, budget, level)


def _optima(evidence: Evidence, budget: float, level: float) -> list[HeldOut]:
    held_out_fits = [
        fit for fit in evidence.valleys.good() if fit.valley.budget == evidence.held.budget[0]
    ]
    if not held_out_fits:
        return []
    valley, flops = held_out_fits[0], np.exp(held_out_fits[0].vertex[2:3])
    comparisons: list[HeldOut] = []
    columns: tuple[tuple[int, Quantity], ...] = ((0, "params"), (1, "tokens"))
    for column, quantity in columns:
        vertex = None if valley.drawn is None else np.exp(valley.drawn[:, column])
        observed = float(np.exp(valley.vertex[column]))
        optima: dict[Predictor, tuple[float, Array | None]] = {}
        if quantity in evidence.laws:
            value, drawn = evidence.laws[quantity].at(flops)
            optima["valley power law"] = float(value[0]), None if drawn is None else drawn[:, 0]
        if evidence.surface is not None and evidence.cost is not None:
            thetas = np.concatenate([evidence.surface.theta[None], evidence.thetas])
            params = optimal_params(thetas, flops, evidence.cost)[:, 0]
            optimum = params if quantity == "params" else flops[0] / evidence.cost(params)
            if np.isfinite(optimum[0]):
                optima["surface"] = float(optimum[0]), optimum[1:]
        for predictor, (value, drawn) in optima.items():
            predicted = predict_optimum(value, drawn, vertex, level)
            comparisons.append(compared(budget, predictor, predicted, observed, quantity))
    return comparisons


def predict_loss(
    fit: SurfaceFit,
    thetas: Array,
    params: Array,
    tokens: Array,
    level: float,
    rng: np.random.Generator,
) -> Estimate:
    """Predicts the lowest loss of new runs at params and tokens [m], by simulated experiments.

    Each simulation takes one resample of the surface f64[R 5] and adds residuals of the fit, drawn
    with replacement and scaled up for the five fitted parameters. Returns the median and the
    interval.
    """
    mean = log_loss(thetas, np.log(params), np.log(tokens))
    spread = fit.residuals * np.sqrt(len(fit.residuals) / (len(fit.residuals) - 5))
    lowest = np.exp(mean + rng.choice(spread, mean.shape)).min(-1)
    return estimate(float(np.median(lowest)), lowest, level)


def predict_from_laws(
    loss: LawFit,
    params: LawFit,
    valleys: Valleys,
    held: Points,
    level: float,
    rng: np.random.Generator,
) -> Estimate:
    """Predicts the lowest loss of the runs `held` by approach 2 alone, by simulated experiments.

    Each simulation takes a draw of L*(C) and N*(C), gives the budget a valley of the mean relative
    curvature L'' / (L* - E) of those fitted, which a surface has the same for all budgets, and adds
    the runs' noise. Returns the median and the interval; without draws L*(C) and no interval.
    """
    flops = np.array([held.flops.mean()])
    value, at_loss = loss.at(flops)
    _, at_params = params.at(flops)
    if at_loss is None or at_params is None or loss.drawn is None or valleys.noise is None:
        return Estimate(float(value[0]))
    fits = [fit for fit in valleys.good() if fit.valley.budget < held.budget[0]]
    lowest_losses = np.stack([np.exp(fit.drawn[:, 3]) for fit in fits if fit.drawn is not None])
    curvatures = np.stack([fit.curvature[1:] for fit in fits])
    offset = loss.drawn[:, 0]
    relative = np.mean(curvatures / (lowest_losses - offset), axis=0)
    log_ratio = np.log(held.params) - np.log(at_params)
    shape = skewed_square(log_ratio, valleys.skews[1:, None]) / 2
    mean = at_loss + (relative * (at_loss[:, 0] - offset))[:, None] * shape
    noise = valleys.noise.deviation * rng.standard_normal(mean.shape) / np.sqrt(held.runs)
    lowest = (mean * np.exp(noise)).min(-1)
    lowest = lowest[np.isfinite(lowest)]
    return (
        estimate(float(np.median(lowest)), lowest, level)
        if len(lowest)
        else Estimate(float(value[0]))
    )


def predict_optimum(
    value: float, drawn: Array | None, vertex: Array | None, level: float
) -> Estimate:
    """Predicts the vertex of a valley from draws [R] of a law and the draws [R] of that vertex.

    Both are positive. The interval includes the law's uncertainty and that of the valley's own
    vertex, with which the prediction will be compared.
    """
    if drawn is None or vertex is None:
        return Estimate(value)
    about = vertex / np.median(vertex)
    return estimate(value, drawn * about, level)


def compare(points: Points, budget: float, predictor: Predictor, predicted: Estimate) -> HeldOut:
    """The prediction beside the lowest observed loss at the held-out budget."""
    return compared(budget, predictor, predicted, float(points.loss.min()), "loss")


def compared(
    budget: float, predictor: Predictor, predicted: Estimate, observed: float, quantity: Quantity
) -> HeldOut:
    """The prediction of a quantity beside its observed value."""
    inside = None
    if predicted.low is not None and predicted.high is not None:
        inside = predicted.low <= observed <= predicted.high
    return HeldOut(float(budget), predictor, predicted, observed, inside, quantity)


def missed(found: list[HeldOut], level: float) -> list[Caution]:
    """A caution for each law whose interval misses what was observed."""
    names = {"loss": "lowest loss", "params": "N*", "tokens": "D*"}
    return [
        Caution(
            "held-out budget missed",
            f"{'approach 3' if comparison.predictor == 'surface' else 'approach 2'}, "
            f"{names[comparison.quantity]}",
            f"predicted {comparison.predicted.value:.4g} [{comparison.predicted.low:.4g}, "
            f"{comparison.predicted.high:.4g}] at {comparison.budget:.3g} FLOPs, "
            f"observed {comparison.observed:.4g}: outside the {level:.0%} interval",
        )
        for comparison in found
        if comparison.inside is False
    ]
