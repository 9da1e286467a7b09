"""Predicts the largest budget from the smaller ones, by a predictor chosen beforehand."""

import numpy as np

from lm_lab.scaling.bootstrap import estimate
from lm_lab.scaling.laws import LawFit
from lm_lab.scaling.points import Points
from lm_lab.scaling.records import Estimate, HeldOut, Predictor
from lm_lab.scaling.surface import SurfaceFit, log_loss
from lm_lab.scaling.valleys import ValleyFit

Array = np.ndarray


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


def predict_from_law(
    law: LawFit, valleys: list[ValleyFit], flops: float, level: float, rng: np.random.Generator
) -> Estimate:
    """L*(flops) by the power law of the valleys, with the runs' noise about their parabolas."""
    value, resampled = law.at(np.array([flops]))
    noises = [
        fit.valley.noise / fit.valley.loss.value for fit in valleys if fit.valley.noise is not None
    ]
    if resampled is None:
        return Estimate(float(value[0]))
    noise = np.sqrt(np.mean(np.square(noises))) * rng.standard_normal(len(resampled))
    return estimate(float(value[0]), resampled[:, 0] * np.exp(noise), level)


def compare(points: Points, budget: float, predictor: Predictor, predicted: Estimate) -> HeldOut:
    """The prediction beside the lowest observed loss at the held-out budget."""
    observed = float(points.loss.min())
    inside = None
    if predicted.low is not None and predicted.high is not None:
        inside = predicted.low <= observed <= predicted.high
    return HeldOut(float(budget), predictor, predicted, observed, inside)
