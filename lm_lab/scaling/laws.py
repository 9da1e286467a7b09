"""Power laws N*(C), D*(C) and L*(C) through the vertices of the valleys, and their frontier."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm_lab.scaling.bootstrap import band, estimate
from lm_lab.scaling.records import Frontier, PowerLaw, Refusal
from lm_lab.scaling.valleys import ValleyFit

Array = np.ndarray
Quantity = Literal["params", "tokens", "loss"]
SATURATING_BUDGETS = (
    4  # three determine offset, coefficient and exponent; the fourth shows a misfit
)


@dataclass(frozen=True)
class LawFit:
    """A fitted law."""

    law: PowerLaw
    coefficients: Array  # f64[3] = (offset, log coefficient, exponent)
    drawn: Array | None  # f64[R 3], the coefficients of each draw, NaN where it has no law

    def at(self, flops: Array) -> tuple[Array, Array | None]:
        """The quantity at C [G], and its draws [R G]."""
        (value,) = evaluate(self.coefficients[None], flops)
        return value, None if self.drawn is None else evaluate(self.drawn, flops)


def evaluate(coefficients: Array, flops: Array) -> Array:
    """offset + coefficient C^exponent of laws [R 3] at C [G]: [R G]."""
    offset, log_coefficient, exponent = coefficients.T[..., None]
    return offset + np.exp(log_coefficient + exponent * np.log(flops))


def fit_law(
    quantity: Quantity, fits: list[ValleyFit], level: float, irreducible: Array | None = None
) -> LawFit | Refusal:
    """Fits the law of one quantity to the vertices; refuses fewer than two budgets.

    N*(C) and D*(C) are straight in log-log. L*(C) = E + k C^-g has its E fitted once there are four
    budgets. With two or three, E is that of the surface: `irreducible` f64[1 + R], its fit and its
    draws, one for each draw of the valleys; without it L*(C) is refused, for a pure power law (E =
    0) is wrong by far more than its interval. The interval comes from the draws of the vertices
    (None if there are none). It leaves out the misfit of the law itself, whose size is `residual`.
    """
    if len(fits) < 2:
        message = f"{len(fits)} valleys with a vertex; an exponent needs two"
        return Refusal("too few budgets", f"{quantity}(C)", message)
    column = {"params": 0, "tokens": 1, "loss": 3}[quantity]
    vertices = np.stack([fit.vertex for fit in fits])[None]
    of_fits = [fit.drawn for fit in fits if fit.drawn is not None]
    drawn = np.stack(of_fits, 1) if len(of_fits) == len(fits) else None
    x, y = vertices[..., 2], vertices[..., column]
    source: Literal["none", "valleys", "surface"] = "none"
    if quantity != "loss":
        solved, solved_draws = straight(x, y), _of_draws(drawn, column, straight)
    elif len(fits) >= SATURATING_BUDGETS:
        source = "valleys"
        solved, solved_draws = _saturating(x, y), _of_draws(drawn, column, _saturating)
    else:
        if irreducible is None or irreducible[0] >= np.exp(y.min()):
            return _no_offset(irreducible)
        source = "surface"
        solved = _above(x, y, irreducible[:1])
        solved_draws = (
            None
            if drawn is None or len(irreducible) != len(drawn) + 1
            else _above(drawn[..., 2], drawn[..., column], irreducible[1:])
        )
    return _law(quantity, solved[0], solved_draws, vertices[0], column, source, level)


def _law(
    quantity: Quantity,
    coefficients: Array,
    drawn: Array | None,
    vertices: Array,
    column: int,
    source: Literal["none", "valleys", "surface"],
    level: float,
) -> LawFit:
    fitted = np.log(evaluate(coefficients[None], np.exp(vertices[:, 2]))[0])
    freedom = len(vertices) - (3 if source == "valleys" else 2)
    squares = np.sum((fitted - vertices[:, column]) ** 2)
    law = PowerLaw(
        quantity=quantity,
        coefficient=float(np.exp(coefficients[1])),
        exponent=estimate(coefficients[2], None if drawn is None else drawn[:, 2], level),
        offset=float(coefficients[0]),
        budgets=len(vertices),
        residual=float(np.sqrt(squares / freedom)) if freedom else None,
        offset_source=source,
    )
    return LawFit(law, coefficients, drawn)


def frontier(
    params: LawFit, tokens: LawFit, loss: LawFit | None, flops: Array, level: float
) -> Frontier:
    """N*(C), D*(C) and L*(C), if there is a law of it, of approach 2 over a grid of compute."""
    of_params, of_tokens = (band(flops, *fit.at(flops), level) for fit in (params, tokens))
    of_loss = None if loss is None else band(flops, *loss.at(flops), level)
    a, b = params.law.exponent, tokens.law.exponent
    return Frontier("approach 2", a, b, of_params, of_tokens, of_loss)


def _of_draws(drawn: Array | None, column: int, solve) -> Array | None:
    return None if drawn is None else solve(drawn[..., 2], drawn[..., column])


def _no_offset(irreducible: Array | None) -> Refusal:
    message = (
        "fewer than four budgets and no surface to take the irreducible loss E from"
        if irreducible is None
        else "the surface's E is above the lowest loss of a valley"
    )
    return Refusal("irreducible loss unknown", "loss(C)", message)


def straight(log_flops: Array, logs: Array) -> Array:
    """(0, log coefficient, exponent) [... 3] of a power law through points [... n] in logs."""
    x = log_flops - log_flops.mean(-1, keepdims=True)
    slope = (x * logs).sum(-1) / (x * x).sum(-1)
    return np.stack([np.zeros_like(slope), logs.mean(-1) - slope * log_flops.mean(-1), slope], -1)


def _above(log_flops: Array, log_loss: Array, offset: Array) -> Array:
    """E + k C^-g with E given: straight in log(L - E). NaN where E is not below every loss."""
    with np.errstate(invalid="ignore", divide="ignore"):
        above = np.log(np.exp(log_loss) - offset[:, None])
    above = np.where(np.isfinite(above).all(-1, keepdims=True), above, np.nan)
    law = straight(log_flops, above)
    law[:, 0] = np.where(np.isnan(law[:, 2]), np.nan, offset)
    return law


def _saturating(log_flops: Array, log_loss: Array) -> Array:
    """E + k C^-g by least squares in the loss: g is searched on a grid, E and k are then linear."""
    loss, centre = np.exp(log_loss), log_flops.mean(-1, keepdims=True)
    best, lowest = straight(log_flops, log_loss), np.full(len(loss), np.inf)
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
