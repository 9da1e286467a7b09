"""Simulated tables with a known truth for every law of scaling/forms: true parameters, designs and
noise.

They calibrate the fits (tools/calibrate.py, and the tests). The formulas are written a second time,
as in the papers, so that fits are compared with independent code.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Planted(NamedTuple):
    """A law with its true parameters, the columns of a design, and the noise of a run."""

    truth: Mapping[str, float]
    columns: Mapping[str, Array]
    measured: Callable[..., Array]  # the columns -> the column that noise is added to
    noise: float = 0.01  # s.d. of its log, or of itself where not `relative`
    relative: bool = True
    name: str = "loss"  # of that column

    def table(self, noise: float, seed: int, outliers: int = 0) -> dict[str, Array]:
        """The columns with a simulated measured column. A number of random rows, `outliers`, are 15
        s.d. higher.
        """
        rng, value = np.random.default_rng(seed), self.measured(**self.columns)
        error = noise * rng.standard_normal(len(value))
        error[rng.permutation(len(value))[:outliers]] += 15 * noise
        return {
            **self.columns,
            self.name: value * np.exp(error) if self.relative else value + error,
        }


def cells(**axes) -> dict[str, Array]:
    """Columns of the product of the axes' values."""
    grids = np.meshgrid(*[np.asarray(axis, np.float64) for axis in axes.values()], indexing="ij")
    return {name: grid.ravel() for name, grid in zip(axes, grids)}


def isoflop(sizes: int = 7, ratio: float = 1.5, off: float = 0.0) -> dict[str, Array]:
    """Budgets 1e17 to 1e20 of Besiroglu's surface, sizes about its optimum at C = 6 N D."""
    flops = np.repeat(np.array([1e17, 1e18, 1e19, 1e20]), sizes)
    best = (0.3478 * 482.01 / (0.3658 * 2085.43)) ** (1 / 0.7136) * (flops / 6) ** (0.3658 / 0.7136)
    steps = np.tile(np.arange(sizes) - (sizes - 1) / 2, 4)
    params = best * np.exp(off) * ratio**steps
    return {"params": params, "tokens": flops / (6 * params)}


def surface(params, tokens, **_):
    """E + A / N^alpha + B / D^beta with the parameters of 2404.10102."""
    return 1.8169 + 482.01 / params**0.3478 + 2085.43 / tokens**0.3658


SURFACE = {"E": 1.8169, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def repeated(params, tokens, unique_tokens):
    """2305.16264, equations 4 to 7, at Besiroglu's surface, R_D* 15.4, R_N* 5.3."""
    E, A, B, alpha, beta = SURFACE.values()

    def worth(unique, everything, scale):
        repeats = everything / unique - 1
        return unique + unique * scale * (1 - np.exp(-repeats / scale))

    unique = np.minimum(unique_tokens, tokens)
    ratio = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    # N = ratio (C / 6)^a and D = (C / 6)^b / ratio at the optimum; of D this is its N
    best = ratio * (ratio * unique) ** (beta / alpha)
    data = worth(unique, tokens, 15.4)
    return E + A / worth(np.minimum(params, best), params, 5.3) ** alpha + B / data**beta


def routing(active_params, experts):
    """2202.01169 in base 10, S-Base."""
    a, b, c, d, start, most = -0.082, -0.108, 0.009, 1.104, 1.847, 314.478
    effective = 1 / (1 / (experts - 1 + 1 / (1 / start - 1 / most)) + 1 / most)
    n, e = np.log10(active_params), np.log10(effective)
    return 10 ** (a * n + b * e + c * n * e + d)


def parabola_of(setting: str, best: Callable[..., Array]) -> Callable[..., Array]:
    """A loss that is a parabola in the log of a setting about its optimum."""

    def loss(**columns):
        apart = np.log(columns[setting] / best(columns["params"], columns["tokens"]))
        return surface(columns["params"], columns["tokens"]) + 0.05 * apart**2

    return loss


def about(setting: str, best: Callable[..., Array], params: Array, tokens: Array):
    """Seven values a factor two apart, about the optimum of each cell but not centred on it."""
    rows = cells(params=params, tokens=tokens, step=np.arange(-3, 4))
    middle = 2 ** np.round(np.log2(best(rows["params"], rows["tokens"])))
    return {"params": rows["params"], "tokens": rows["tokens"], setting: middle * 2 ** rows["step"]}


def best_rate(params, tokens):
    """2503.04715."""
    return 1.79 * params**-0.713 * tokens**0.307


def best_batch(params, tokens):
    """The exponent of 2505.13738, with a batch of 2.6e5 tokens at 1e10."""
    del params
    return 40.0 * tokens**0.38


def curves() -> dict[str, Array]:
    """Training curves of nine sizes, a factor 1.6 apart, each over three decades of compute."""
    params = 1e7 * 1.6 ** np.arange(9)
    rows = cells(params=params, step=np.linspace(-3.5, 3.5, 60))
    best = 6 * rows["params"] * 20 * rows["params"]
    return {
        "params": rows["params"],
        "flops": best * np.exp(rows["step"]),
        "decayed": np.ones(len(best)),
    }


SIZES, DATA = np.geomspace(1e7, 1e9, 5), np.geomspace(2e8, 2e10, 5)
RATES, BATCHES = np.geomspace(5e7, 2e9, 4), np.geomspace(1e9, 1e11, 4)
"""Sizes and tokens of the designs of the rate and the batch."""

PLANTED = {
    "kaplan_params": Planted(
        {"N_c": 8.8e13, "alpha_N": 0.076},
        {"params": np.geomspace(1e6, 1e9, 10)},
        lambda params: (8.8e13 / params) ** 0.076,
    ),
    "kaplan_tokens": Planted(
        {"D_c": 5.4e13, "alpha_D": 0.095},
        {"tokens": np.geomspace(1e8, 2e10, 10)},
        lambda tokens: (5.4e13 / tokens) ** 0.095,
    ),
    "kaplan_compute": Planted(
        {"C_c": 2.7e28, "alpha_C": 0.05},
        {"flops": np.geomspace(1e17, 1e21, 10)},
        lambda flops: (2.7e28 / flops) ** 0.05,
    ),
    "kaplan_joint": Planted(
        {"N_c": 6.4e13, "alpha_N": 0.076, "D_c": 1.8e13, "alpha_D": 0.103},
        cells(params=np.geomspace(1e6, 1e9, 5), tokens=np.geomspace(1e7, 2e10, 5)),
        lambda params, tokens: ((6.4e13 / params) ** (0.076 / 0.103) + 1.8e13 / tokens) ** 0.103,
    ),
    "chinchilla": Planted(SURFACE, isoflop(sizes=9), surface, 0.004),
    "variable_projection": Planted(SURFACE, isoflop(sizes=9), surface, 0.01, relative=False),
    "repeated_data": Planted(
        {**SURFACE, "R_D*": 15.4, "R_N*": 5.3},
        cells(
            params=np.geomspace(1e7, 1e10, 6),
            tokens=np.geomspace(1e9, 1e11, 6),
            unique_tokens=(1e8, 1e9, 1e12),
        ),
        repeated,
        0.003,
    ),
    "over_training": Planted(
        {"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136},
        {
            "params": np.array([1.1e7, 1.1e7, 1.1e7, 7.9e7, 7.9e7, 1.54e8, 4.11e8, 4.11e8]),
            "tokens": np.array([2.2e8, 8.8e8, 3.5e9, 1.58e9, 1.2e10, 3.1e9, 8.2e9, 6.5e10]),
        },
        lambda params, tokens: (
            1.84
            + (212 * (tokens / params) ** 0.136 + 367 * (tokens / params) ** -0.136)
            / (6 * params * tokens) ** 0.136
        ),
        0.005,
    ),
    "rate": Planted(
        {"k": 1.79, "a": -0.713, "b": 0.307},
        about("rate", best_rate, RATES, BATCHES),
        parabola_of("rate", best_rate),
        0.002,
    ),
    "batch": Planted(
        {"k": 40.0, "c": 0.38},
        about("batch", best_batch, RATES, BATCHES),
        parabola_of("batch", best_batch),
        0.002,
    ),
    "accuracy_sigmoid": Planted(
        {"floor": 0.25, "ceiling": 0.9, "k": 3.0, "L_0": 2.6},
        {"loss": np.linspace(1.4, 4.0, 24)},
        lambda loss: 0.25 + 0.65 / (1 + np.exp(3.0 * (loss - 2.6))),
        0.005,
        relative=False,
        name="accuracy",
    ),
    "accuracy_compute": Planted(
        {"floor": 0.25, "ceiling": 0.85, "k": 0.7, "C_0": 3e21},
        {"flops": np.geomspace(1e18, 1e25, 24)},
        lambda flops: 0.25 + 0.6 / (1 + (3e21 / flops) ** 0.7),
        0.005,
        relative=False,
        name="accuracy",
    ),
    "accuracy_exponential": Planted(
        {"epsilon": 0.85, "k": 2.1, "gamma": 0.75},
        {"loss": np.linspace(2.0, 4.5, 20)},
        lambda loss: 1 - (0.85 - 2.1 * np.exp(-0.75 * loss)),
        0.005,
        relative=False,
        name="accuracy",
    ),
    "routing": Planted(
        {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.847, "E_max": 314.478},
        cells(active_params=np.geomspace(1.5e7, 1.3e9, 6), experts=2.0 ** np.arange(0, 10)),
        routing,
        0.003,
    ),
    "experts_joint": Planted(
        {**SURFACE, "w": 0.4},
        {
            **(rows := cells(active_params=SIZES, tokens=DATA, sparsity=(1, 4, 16))),
            "params": rows["active_params"] * rows["sparsity"],
        },
        lambda active_params, tokens, sparsity, params: surface(
            active_params**0.6 * params**0.4, tokens
        ),
        0.003,
    ),
    "envelope": Planted(
        {"a": 0.3658 / 0.7136},
        curves(),
        lambda params, flops, decayed: surface(params, flops / (6 * params)),
        0.001,
    ),
}
