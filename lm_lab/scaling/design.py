"""What a design of runs can tell before any has run, under a reference law.

A run of N parameters and D tokens is one noisy observation of log L(N, D). The gradients of log L
in theta = (log E, log A, alpha, log B, beta) give the Fisher information of a design, and with it
the condition number of approach 3 and the intervals to expect of a = beta / (alpha + beta) and of
the loss at a held-out budget. Designs of fixed D/N are ill-conditioned (2605.08541): along them
A N^-alpha and B D^-beta differ by little more than a factor.

The theory is linear. It meets the spread of refitted simulations within some 20 % while the
interval of a is narrower than .3; beyond that, read it as "undetermined".
"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from lm_lab.scaling.optimum import Cost, optimal_params
from lm_lab.scaling.surface import HUBER, log_loss

Array = np.ndarray
CHINCHILLA = (0.3478, 0.3658)  # alpha and beta of 2203.15556's points, as 2404.10102 fits them
IRREDUCIBLE = 0.5  # share of E in the loss at the middle budget: 0.62 in 2203.15556 at 1e19 FLOPs
ILL_CONDITIONED = 100.0
UNDETERMINED = 1.0  # a is between 0 and 1: a wider interval says nothing
DRAWS = 2000


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A N^-alpha + B D^-beta, in any unit of loss."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    @property
    def exponent(self) -> float:
        """a, the exponent of N* in C at C = 6ND."""
        return self.beta / (self.alpha + self.beta)

    @property
    def theta(self) -> Array:
        """f64[5] = (log E, log A, alpha, log B, beta)."""
        logs = [math.log(self.E), math.log(self.A), self.alpha, math.log(self.B), self.beta]
        return np.array(logs)


@dataclass(frozen=True)
class Design:
    """Cells to run, as float64 arrays [n]: N, D, C and the budget. A cell is run with `seeds`
    seeds, which are averaged, at `rates` peak rates, of which the best is taken.
    """

    params: Array
    tokens: Array
    flops: Array
    budget: Array
    seeds: Array
    rates: Array

    def __len__(self) -> int:
        return len(self.params)

    def where(self, chosen: Array) -> "Design":
        """The cells selected by a mask or an index array."""
        return Design(*(array[chosen] for array in self._arrays()))

    def joined(self, other: "Design") -> "Design":
        """The cells of both."""
        return Design(*map(np.append, self._arrays(), other._arrays()))

    def _arrays(self) -> tuple[Array, ...]:
        return self.params, self.tokens, self.flops, self.budget, self.seeds, self.rates

    @property
    def cost(self) -> float:
        """FLOPs of all runs."""
        return float(np.sum(self.flops * self.seeds * self.rates))


@dataclass(frozen=True)
class Judgement:
    """The condition and the intervals to expect of a design.

    `condition` is the condition number of the column-scaled Jacobian in centred coordinates, as
    approach 3 reports it. Widths are those of intervals at `level`: of a, and of the lowest loss of
    the held-out runs as a share of it; None where the design does not determine them.
    """

    law: Law
    noise: float
    level: float
    condition: float
    exponent_width: float | None
    prediction_width: float | None


@dataclass(frozen=True)
class Proposal:
    """Cells to add, and the width of the interval of the exponent a: before, after, and if the same
    FLOPs went into further seeds of the design.
    """

    cells: Design
    before: float | None
    after: float | None
    repeated: float | None


def reference_law(design: Design, cost: Cost, exponents: tuple[float, float] = CHINCHILLA) -> Law:
    """The law of these exponents whose valley at the design's middle budget has its bottom at the
    middle of the sizes there, with a loss of 1, half of it irreducible.

    So the judgement depends on the exponents, and not on the units of loss and size.
    """
    alpha, beta = exponents
    budgets = np.unique(design.budget)
    middle = design.where(design.budget == budgets[len(budgets) // 2])
    x, y = np.log(middle.params).mean(), np.log(middle.tokens).mean()
    step = 1e-4
    slope = float(np.log(cost(np.exp(x + step)) / cost(np.exp(x - step))) / (2 * step))
    # at the bottom alpha A N^-alpha = beta slope B D^-beta
    shares = np.array([beta * slope, alpha]) / (alpha + beta * slope) * (1 - IRREDUCIBLE)
    A, B = shares * np.exp([alpha * x, beta * y])
    return Law(IRREDUCIBLE, float(A), alpha, float(B), beta)


def judge(
    design: Design, law: Law, noise: float, level: float = 0.9, held_out: Design | None = None
) -> Judgement:
    """The condition number and the widths to expect; `noise` is the s.d. of a run's log loss."""
    centre = _centre(design)
    gradient = _gradient(law, design.params, design.tokens, centre)
    scaled = gradient / np.linalg.norm(gradient, axis=0)
    condition = min(float(np.linalg.cond(scaled)), 1 / np.finfo(np.float64).eps)
    covariance = _covariance(design, law, noise, centre)
    width = prediction = None
    if covariance is not None:
        slope = _exponent_gradient(law)
        width = 2 * _quantile(level) * float(np.sqrt(slope @ covariance @ slope))
        if held_out is not None and len(held_out):
            prediction = _prediction_width(held_out, law, noise, level, covariance, centre)
    if width is not None and width > UNDETERMINED:
        width = prediction = None
    return Judgement(law, noise, level, condition, width, prediction)


def propose(
    design: Design,
    law: Law,
    noise: float,
    flops: float,
    cost: Cost,
    largest_budget: float,
    level: float = 0.9,
    most: int = 24,
) -> Proposal:
    """The cells that narrow the interval of a most for `flops` more, at most `most` of them.

    Cells are chosen one by one (a greedy c-optimal design), once by their information and once by
    their information per FLOP; the better result is taken. Candidates lie on a grid of budgets up
    to `largest_budget` and of sizes within x8 about the optimum of the law, the window in which a
    valley is a parabola; each is used once, with one seed at as many rates as the design has.
    """
    grid = candidates(design, law, cost, largest_budget)
    affordable = grid.where(grid.flops * grid.rates <= flops)
    chosen = [_greedy(design, affordable, law, flops, most, by_cost) for by_cost in (False, True)]
    candidates_by_width = [
        (judge(design.joined(cells), law, noise, level).exponent_width, cells) for cells in chosen
    ]
    after, cells = min(
        candidates_by_width, key=lambda pair: math.inf if pair[0] is None else pair[0]
    )
    repeated_design = replace(design, seeds=design.seeds * (1 + flops / design.cost))
    before, repeated = (
        judge(option, law, noise, level).exponent_width for option in (design, repeated_design)
    )
    return Proposal(cells, before, after, repeated)


def candidates(design: Design, law: Law, cost: Cost, largest_budget: float) -> Design:
    """The grid that proposals are chosen from: nine budgets, nine sizes each."""
    budgets = np.geomspace(design.budget.min(), largest_budget, 9)
    best = optimal_params(law.theta, budgets, cost)
    params = (best[:, None] * np.geomspace(8**-0.5, 8**0.5, 9)).ravel()
    flops = np.repeat(budgets, 9)
    is_finite = np.isfinite(params)
    ones = np.ones(len(flops))
    rates = ones * np.max(design.rates)
    grid = Design(params, flops / cost(params), flops, flops, ones, rates)
    return grid.where(is_finite)


def _greedy(
    design: Design, grid: Design, law: Law, flops: float, most: int, by_cost: bool
) -> Design:
    """Adds the cell that lowers the variance of a most (with `by_cost`: per FLOP), while the FLOPs
    suffice for one.
    """
    centre = _centre(design)
    slope, prices = _exponent_gradient(law), grid.flops * grid.rates
    gradient = _gradient(law, grid.params, grid.tokens, centre)
    design_gradient = _gradient(law, design.params, design.tokens, centre)
    information = (design_gradient * design.seeds[:, None]).T @ design_gradient
    # a ridge far below the information of one cell, so that directions without information can be
    # inverted
    information += 1e-9 * np.diag(np.maximum(np.diag(information), 1e-12))
    flops_left, chosen = flops, []
    free = np.ones(len(grid), bool)
    while len(chosen) < most and (free & (prices <= flops_left)).any():
        inverse = np.linalg.inv(information)
        leverage = gradient @ inverse
        gain = (leverage @ slope) ** 2 / (1 + np.sum(leverage * gradient, -1))
        score = np.where(free & (prices <= flops_left), gain / (prices if by_cost else 1.0), -1.0)
        best = int(np.argmax(score))
        information += np.outer(gradient[best], gradient[best])
        free[best], flops_left = False, flops_left - prices[best]
        chosen.append(best)
    return grid.where(np.array(chosen, np.int64))


def _centre(design: Design) -> Array:
    return np.array([np.log(design.params).mean(), np.log(design.tokens).mean()])


def _gradient(law: Law, params: Array, tokens: Array, centre: Array) -> Array:
    """d log L / d theta [n 5], with log A and log B taken at the centre of the design."""
    loss = np.exp(log_loss(law.theta, np.log(params), np.log(tokens)))
    of_params, of_tokens = law.A * params**-law.alpha / loss, law.B * tokens**-law.beta / loss
    x, y = np.log(params) - centre[0], np.log(tokens) - centre[1]
    return np.stack([law.E / loss, of_params, -of_params * x, of_tokens, -of_tokens * y], -1)


def _exponent_gradient(law: Law) -> Array:
    """d a / d theta [5]."""
    total = (law.alpha + law.beta) ** 2
    return np.array([0.0, 0.0, -law.beta / total, 0.0, law.alpha / total])


def _covariance(design: Design, law: Law, noise: float, centre: Array) -> Array | None:
    """Covariance [5 5] of the fitted theta; None where the design does not determine all
    parameters.
    """
    gradient = _gradient(law, design.params, design.tokens, centre)
    weighted = gradient * np.sqrt(design.seeds)[:, None] / noise
    lengths = np.linalg.norm(weighted, axis=0)
    if len(design) < 5 or np.linalg.cond(weighted / lengths) > 1e7:
        return None
    inverse = np.linalg.inv((weighted / lengths).T @ (weighted / lengths))
    return huber_variance(noise) * inverse / np.outer(lengths, lengths)


def huber_variance(noise: float, huber: float = HUBER) -> float:
    """Variance of the Huber fit over that of least squares, with Gaussian noise: 1 to pi / 2."""
    k = huber / noise
    below = 0.5 * (1 + math.erf(k / math.sqrt(2)))
    density = math.exp(-k * k / 2) / math.sqrt(2 * math.pi)
    within = 2 * below - 1
    return (within - 2 * k * density + 2 * k * k * (1 - below)) / within**2


def _quantile(level: float) -> float:
    """Half the width of a normal interval, in s.d."""
    return NormalDist().inv_cdf((1 + level) / 2)


def _prediction_width(
    held_out: Design, law: Law, noise: float, level: float, covariance: Array, centre: Array
) -> float:
    """The width of the interval of the held-out cells' lowest log loss: the law's uncertainty and
    the runs' noise.
    """
    rng = np.random.default_rng(0)
    gradient = _gradient(law, held_out.params, held_out.tokens, centre)
    errors = rng.multivariate_normal(np.zeros(5), covariance, DRAWS) @ gradient.T
    errors += noise * rng.standard_normal(errors.shape) / np.sqrt(held_out.seeds)
    logs = log_loss(law.theta, np.log(held_out.params), np.log(held_out.tokens)) + errors
    low, high = np.percentile(logs.min(-1), [50 * (1 - level), 50 * (1 + level)])
    return float(high - low)
