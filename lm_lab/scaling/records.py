"""The results of an analysis of isoFLOP runs: typed, frozen records of plain Python values.

Every record turns into JSON by `dataclasses.asdict`. N is `params`, D is `tokens`, C is `flops`;
losses are nats a token. A question that the data cannot answer gives a `Refusal`, a doubtful answer
a `Caution`; both are values.
"""

import math
from dataclasses import dataclass
from typing import Literal

from lm_lab.scaling.shapes import skewed_square

RefusalKind = Literal[
    "too few points",
    "too few budgets",
    "wrong curvature",
    "vertex outside the data",
    "no optimum",
    "optimum far outside the data",
    "parameter at a bound",
    "exponent outside (0, 1)",
    "units do not agree",
    "irreducible loss unknown",
    "held-out budget not in the data",
    "predictor refused",
    "mixed decay stages",
]
CautionKind = Literal[
    "run left out",
    "outlier",
    "best rate at the edge of its grid",
    "best setting at the edge of its grid",
    "best of several settings",
    "budgets joined",
    "rate not tuned",
    "irreducible loss near 0",
    "parameter at a bound",
    "optimum outside the data",
    "badly conditioned",
    "decided by one point",
    "no residual",
    "resamples refused",
    "row left out",
    "decay stage unknown",
    "unresolved valley",
    "skewed valleys",
    "wide window",
    "lack of fit",
    "compute is not about 6ND",
    "unusual tokens a parameter",
    "loss like a perplexity",
    "unlike losses",
    "held-out budget missed",
]


@dataclass(frozen=True)
class Refusal:
    """A question without an answer, and why; `where` names the budget or the law."""

    kind: RefusalKind
    where: str
    message: str


@dataclass(frozen=True)
class Caution:
    """A reason to doubt an answer that is given nevertheless."""

    kind: CautionKind
    where: str
    message: str


@dataclass(frozen=True)
class Estimate:
    """A value with the interval of its draws at the analysis' level (None: no interval)."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Band:
    """A curve over compute with its pointwise interval: four sequences of one length."""

    flops: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Point:
    """The best of one (N, D) cell: the mean loss over seeds at the optimum of the rates tried.

    `predicted` is the surface's loss and `residual` is log(loss / predicted); both are None without
    a surface. `chosen` names the best of whatever else was swept, as "train.batch_size=64";
    `loss_sd` is the sample s.d. over the seeds, nats (None with fewer than two).
    """

    params: float
    tokens: float
    flops: float
    budget: float
    loss: float
    rate: float | None
    seeds: int
    held_out: bool
    predicted: float | None
    residual: float | None
    chosen: str = ""
    loss_sd: float | None = None


@dataclass(frozen=True)
class Noise:
    """The s.d. of one run's loss as a share of the loss, pooled over the budgets fitted.

    It has `freedom` degrees of freedom, of which `seed_freedom` come from seeds of one cell; the
    others come from the residuals of the valleys.
    """

    deviation: float
    freedom: int
    seed_freedom: int


@dataclass(frozen=True)
class Valley:
    """The vertex of one budget's valley (approach 2, 2203.15556).

    loss(N) = c0 + c1 x + c2 q(x) with x = log(N / centre), `coefficients` = (c0, c1, c2) and
    q(x) = 2 (exp(s x) - 1 - s x) / s^2 with the `skew` s: a parabola, q = x^2, at s = 0. It was
    fitted to `points` sizes within [lowest, highest] parameters, a factor `window` each way about
    the lowest loss (None: all sizes), of the `sizes` run at this budget. `noise` is the residual
    s.d. in nats, None without residuals.
    """

    budget: float
    flops: float
    params: Estimate
    tokens: Estimate
    loss: Estimate
    centre: float
    coefficients: tuple[float, float, float]
    lowest_params: float
    highest_params: float
    points: int
    noise: float | None
    skew: float = 0.0
    window: float | None = None
    sizes: int = 0

    def at(self, params: float) -> float:
        """Loss of the valley at a model size, nats a token."""
        x = math.log(params / self.centre)
        c0, c1, c2 = self.coefficients
        return c0 + c1 * x + c2 * float(skewed_square(x, self.skew))


@dataclass(frozen=True)
class PowerLaw:
    """quantity(C) = offset + coefficient * C^exponent through the valleys' vertices.

    `offset` is the irreducible loss E in the law of loss, and 0 in the others. `offset_source` says
    whether E was fitted to the valleys or taken from the surface, draw by draw. `residual` is the
    s.d. in log(quantity), None without residuals.
    """

    quantity: Literal["params", "tokens", "loss"]
    coefficient: float
    exponent: Estimate
    offset: float
    budgets: int
    residual: float | None
    offset_source: Literal["none", "valleys", "surface"] = "none"

    def at(self, flops: float) -> float:
        """The quantity at a compute budget, FLOPs."""
        return self.offset + self.coefficient * flops**self.exponent.value


@dataclass(frozen=True)
class Surface:
    """L(N, D) = E + A N^-alpha + B D^-beta (approach 3, 2203.15556), and its exponents at C = 6ND.

    `exponent_params` is a = beta / (alpha + beta), `exponent_tokens` is b = 1 - a; `noise` is the
    residual s.d. in log loss, corrected for five parameters; `objective` the minimised sum;
    `condition` the condition number of the column-scaled Jacobian in centred coordinates;
    `resamples` a few of the bootstrap's (E, A, B, alpha, beta).
    """

    E: Estimate
    A: Estimate
    B: Estimate
    alpha: Estimate
    beta: Estimate
    exponent_params: Estimate
    exponent_tokens: Estimate
    points: int
    objective: float
    noise: float | None
    condition: float
    resamples: tuple[tuple[float, ...], ...] = ()

    def at(self, params: float, tokens: float) -> float:
        """Loss at a model size and a number of tokens, nats a token."""
        A, B = self.A.value * params**-self.alpha.value, self.B.value * tokens**-self.beta.value
        return self.E.value + A + B


Method = Literal["approach 2", "approach 3"]


@dataclass(frozen=True)
class Frontier:
    """Compute-optimal N*(C), D*(C) and L*(C) by one method, at the measured FLOPs per token.

    `loss` is None if the law of loss was refused.

    Exponents are slopes of log N* and log D* against log C over the range of the budgets fitted.
    """

    method: Method
    exponent_params: Estimate
    exponent_tokens: Estimate
    params: Band
    tokens: Band
    loss: Band | None


@dataclass(frozen=True)
class Variant:
    """N* and D* at `flops`, the largest budget fitted, under one arbitrary choice of the analysis.

    All None if this variant's fit was refused.
    """

    name: str
    flops: float
    exponent_params: float | None
    params: float | None
    tokens: float | None
    tokens_per_param: float | None


Predictor = Literal["surface", "valley power law"]


@dataclass(frozen=True)
class HeldOut:
    """An observation at a budget that no fit saw, beside its prediction by one law.

    `quantity` loss: the lowest loss of the runs there, predicted as the lowest of these very runs,
    which allows for the minimum of noisy values. params, tokens: N* and D* of the valley there.
    `predicted` has a prediction interval, of the fit's uncertainty and the runs' noise. `inside`:
    the observed value lies in it (None: no interval).
    """

    budget: float
    predictor: Predictor
    predicted: Estimate
    observed: float
    inside: bool | None
    quantity: Literal["loss", "params", "tokens"] = "loss"


@dataclass(frozen=True)
class IsoflopAnalysis:
    """All results of an analysis; a missing one is None or absent, and explained in `refusals`.

    No fit sees a budget at or above the held-out one; the points (`held_out`) and valleys of those
    are still listed. `held_out` compares the chosen predictor with it, `comparisons` every law that
    predicts it, the chosen one included. `skew` is that of the valleys, `noise` that of the runs.
    """

    level: float
    draws: int  # of each interval: bootstrap resamples of approach 3, parametric of approach 2
    seed: int
    points: tuple[Point, ...]
    valleys: tuple[Valley, ...]
    params_law: PowerLaw | None
    tokens_law: PowerLaw | None
    loss_law: PowerLaw | None
    surface: Surface | None
    frontiers: tuple[Frontier, ...]
    variants: tuple[Variant, ...]
    held_out: HeldOut | None
    refusals: tuple[Refusal, ...]
    cautions: tuple[Caution, ...]
    comparisons: tuple[HeldOut, ...] = ()
    noise: Noise | None = None
    skew: Estimate | None = None

    def frontier(self, method: Method) -> Frontier | None:
        """The frontier by one method, None where it was refused."""
        return next((frontier for frontier in self.frontiers if frontier.method == method), None)
