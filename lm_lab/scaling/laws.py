"""Power laws through the valleys' vertices: N*(C), D*(C) and L*(C), with the frontier that they
draw.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm_lab.scaling.draws import band, estimate
from lm_lab.scaling.records import Frontier, PowerLaw, Refusal
from lm_lab.scaling.valleys import ValleyFit

Array = np.ndarray
Quantity = Literal["params", "tokens", "loss"]
SATURATING_BUDGETS = 4  # offset, coefficient and exponent take three; one is left to show a misfit


@dataclass(frozen=True)
class LawFit:
    """A law with its coefficients f64[3] = (offset, log coefficient, exponent) and their draws
    f64[R 3] or None.
    """

    law: PowerLaw
    coefficients: Array
    draws: Array | None

    def at(self, flops: Array) -> tuple[Array, Array | None]:
        """The quantity at C [G], and its draws [R G]."""
        return evaluate(self.coefficients[None], flops)[
            0
        ], None if self.draws is None else evaluate(self.draws, flops)


def evaluate(coefficients: Array, flops: Array) -> Array:
    """offset + coefficient C^exponent of laws [R 3] at C [G]: [R G]."""
    offset, log_coefficient, exponent = coefficients.T[..., None]
    return offset + np.exp(log_coefficient + exponent * np.log(flops))


def fit_law(quantity: Quantity, fits: list[ValleyFit], level: float) -> LawFit | Refusal:
    """The law of one quantity through vertices at two budgets or more, else a refusal.

    Straight in log-log; L*(C) = E + k C^-g once there are four budgets. The interval is that of the
    vertices' draws: None where any valley has none, and without the misfit of the law itself, whose
    size is `residual`.
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
    draws, drawn = None, [fit.draws for fit in fits if fit.draws is not None]
    if len(drawn) == len(fits):
        stacked = np.stack(drawn, 1)
        whole = stacked[~np.isnan(stacked).any((1, 2))]
        draws = solve(whole[:, :, 2], whole[:, :, column]) if len(whole) else None
    fitted = np.log(evaluate(coefficients[None], np.exp(vertices[:, 2]))[0])
    freedom = len(fits) - (3 if saturating else 2)
    law = PowerLaw(
        quantity=quantity,
        coefficient=float(np.exp(coefficients[1])),
        exponent=estimate(coefficients[2], None if draws is None else draws[:, 2], level),
        offset=float(coefficients[0]),
        budgets=len(fits),
        residual=float(np.sqrt(np.sum((fitted - vertices[:, column]) ** 2) / freedom))
        if freedom
        else None,
    )
    return LawFit(law, coefficients, draws)


def frontier(params: LawFit, tokens: LawFit, loss: LawFit, flops: Array, level: float) -> Frontier:
    """N*(C), D*(C) and L*(C) of approach 2 over a grid of compute."""
    bands = [band(flops, *fit.at(flops), level) for fit in (params, tokens, loss)]
    return Frontier("approach 2", params.law.exponent, tokens.law.exponent, *bands)


def _straight(log_flops: Array, logs: Array) -> Array:
    x = log_flops - log_flops.mean(-1, keepdims=True)
    slope = (x * logs).sum(-1) / (x * x).sum(-1)
    return np.stack([np.zeros_like(slope), logs.mean(-1) - slope * log_flops.mean(-1), slope], -1)


def _saturating(log_flops: Array, log_loss: Array) -> Array:
    """E + k C^-g by least squares in loss: E and k are linear once g is given, so g is searched on
    a fine grid.
    """
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
