"""Power laws N*(C), D*(C) and L*(C) through the vertices of the valleys, and their frontier."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm_lab.scaling.bootstrap import band, estimate
from lm_lab.scaling.records import Frontier, PowerLaw, Refusal
from lm_lab.scaling.valleys import ValleyFit

Array = np.ndarray
Quantity = Literal["params", "tokens", "loss"]
SATURATING_BUDGETS = 4  # offset, coefficient and exponent use up three; the fourth shows a misfit


@dataclass(frozen=True)
class LawFit:
    """A fitted law."""

    law: PowerLaw
    coefficients: Array  # f64[3] = (offset, log coefficient, exponent)
    resampled: Array | None  # f64[R 3], the coefficients of each bootstrap resample

    def at(self, flops: Array) -> tuple[Array, Array | None]:
        """The quantity at C [G], and its resampled values [R G]."""
        (value,) = evaluate(self.coefficients[None], flops)
        return value, None if self.resampled is None else evaluate(self.resampled, flops)


def evaluate(coefficients: Array, flops: Array) -> Array:
    """offset + coefficient C^exponent of laws [R 3] at C [G]: [R G]."""
    offset, log_coefficient, exponent = coefficients.T[..., None]
    return offset + np.exp(log_coefficient + exponent * np.log(flops))


def fit_law(quantity: Quantity, fits: list[ValleyFit], level: float) -> LawFit | Refusal:
    """Fits the law of one quantity to the vertices; refuses fewer than two budgets.

    The law is straight in log-log; L*(C) = E + k C^-g once there are four budgets. The interval
    comes from the resampled vertices (None if a valley has none). It leaves out the misfit of the
    law itself, whose size is `residual`.
    """
    if len(fits) < 2:
        return Refusal(
            "too few budgets",
            f"{quantity}(C)",
            f"{len(fits)} valleys with a vertex; an exponent needs two",
        )
    column = {"params": 0, "tokens": 1, "loss": 3}[quantity]
    saturating = quantity == "loss" and len(fits) >= SATURATING_BUDGETS
    solve = _saturating if saturating else _straight
    vertices = np.stack([fit.vertex for fit in fits])
    coefficients = solve(vertices[None, :, 2], vertices[None, :, column])[0]
    resampled, of_fits = None, [fit.resampled for fit in fits if fit.resampled is not None]
    if len(of_fits) == len(fits):
        stacked = np.stack(of_fits, 1)
        complete = stacked[~np.isnan(stacked).any((1, 2))]
        resampled = solve(complete[:, :, 2], complete[:, :, column]) if len(complete) else None
    fitted = np.log(evaluate(coefficients[None], np.exp(vertices[:, 2]))[0])
    freedom = len(fits) - (3 if saturating else 2)
    law = PowerLaw(
        quantity=quantity,
        coefficient=float(np.exp(coefficients[1])),
        exponent=estimate(coefficients[2], None if resampled is None else resampled[:, 2], level),
        offset=float(coefficients[0]),
        budgets=len(fits),
        residual=float(np.sqrt(np.sum((fitted - vertices[:, column]) ** 2) / freedom))
        if freedom
        else None,
    )
    return LawFit(law, coefficients, resampled)


def frontier(params: LawFit, tokens: LawFit, loss: LawFit, flops: Array, level: float) -> Frontier:
    """N*(C), D*(C) and L*(C) of approach 2 over a grid of compute."""
    bands = [band(flops, *fit.at(flops), level) for fit in (params, tokens, loss)]
    return Frontier("approach 2", params.law.exponent, tokens.law.exponent, *bands)


def _straight(log_flops: Array, logs: Array) -> Array:
    x = log_flops - log_flops.mean(-1, keepdims=True)
    slope = (x * logs).sum(-1) / (x * x).sum(-1)
    return np.stack([np.zeros_like(slope), logs.mean(-1) - slope * log_flops.mean(-1), slope], -1)


def _saturating(log_flops: Array, log_loss: Array) -> Array:
    """E + k C^-g by least squares in the loss: g is searched on a grid, E and k are then linear."""
    loss, centre = np.exp(log_loss), log_flops.mean(-1, keepdims=True)
    best, lowest = _straight(log_flops, log_loss), np.full(len(loss), np.inf)
    for exponent in np.geomspace(0.005, 2.0, 300):
        basis = np.exp(-exponent * (log_flops - centre))
        centred = basis - basis.mean(-1, keepdims=True)
        slope = (centred * loss).sum(-1) / (centred**2).sum(-1)
        offset = loss.mean(-1) - slope * basis.mean(-1)
        error = ((offset[:, None] + slope[:, None] * basis - loss) ** 2).sum(-1)
        better = (offset >= 0) & (slope > 0) & (error < lowest)
        log_coefficient = np.log(np.where(better, slope, 1.0)) + exponent * centre[:, 0]
        law = np.stack([offset, log_coefficient, np.full_like(offset, -exponent)], -1)
        best, lowest = np.where(better[:, None], law, best), np.where(better, error, lowest)
    return best
