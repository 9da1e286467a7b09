"""The time of approach 3 beside SciPy's L-BFGS, one start at a time: best on one core, by
taskset -c 0.

Both fit 240 simulated points of 2404.10102's surface: from 4,500 published starts, and 2,000
bootstrap draws (from the fit and two starts each). L-BFGS takes a sample of the starts and draws,
and its time is scaled up.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from lm_lab.scaling.planted import surface
from lm_lab.scaling.points import Points, make_points
from lm_lab.scaling.surface import HUBER, SurfaceFit, fit_surface, resample_surfaces
from tools.benchmarks.results import Row, rates
from tools.benchmarks.turns import alternate, timed

STARTS, DRAWS = 4500, 2000
PATIENT = {"ftol": 1e-12, "maxiter": 2000}
AXES = (np.arange(-1, 1.1, 0.5), *(np.arange(0, 26, 5.0), np.arange(0, 2.1, 0.5)) * 2)  # theta's


def table() -> Points:
    """Ten budgets of 24 sizes, a factor 1.2 apart, with noise of 0.4 %."""
    flops = np.repeat(np.geomspace(6e18, 3e21, 10), 24)
    params = 1.2 ** np.tile(np.arange(24) - 11.5, 10) * 0.09 * flops**0.5
    tokens = flops / (6 * params)
    noise = 0.004 * np.random.default_rng(0).standard_normal(240)
    return make_points(params, tokens, flops, surface(params, tokens) * np.exp(noise))


def l_bfgs(
    points: Points, start: np.ndarray, weight: np.ndarray | None = None, **options: float
) -> tuple[float, np.ndarray]:
    """The weighted sum of Huber(1e-3) on log loss that L-BFGS ends with, and its theta, with
    analytic gradients by log-sum-exp in the published, uncentred coordinates; the tests' reference.
    """
    x, y, z = np.log(points.params), np.log(points.tokens), np.log(points.loss)
    weights = np.ones(len(z)) if weight is None else weight

    def value_and_gradient(theta):
        e, a, alpha, b, beta = theta
        logs = np.stack([np.full_like(x, e), a - alpha * x, b - beta * y])
        total = logsumexp(logs, axis=0)
        shares, residual = np.exp(logs - total), total - z
        inner = np.minimum(np.abs(residual), HUBER)
        slopes = np.stack([shares[0], shares[1], -x * shares[1], shares[2], -y * shares[2]])
        pull = weights * np.clip(residual, -HUBER, HUBER)
        return np.sum(weights * inner * (np.abs(residual) - inner / 2)), slopes @ pull

    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return float(found.fun), found.x


def add_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--sample", type=int, default=6, help="fits by L-BFGS a round")


def run(flags: Namespace) -> Iterator[Row]:
    points, rng = table(), np.random.default_rng(0)
    sample = 1 if flags.quick else flags.sample

    def fit() -> None:
        found = fit_surface(points)
        assert isinstance(found, SurfaceFit)
        index = rng.integers(len(points), size=(DRAWS, len(points)))
        resample_surfaces(points, index, found)

    best = fit_surface(points)
    assert isinstance(best, SurfaceFit)

    def fit_sample() -> None:
        for draw in rng.integers(len(points), size=(sample, len(points))):
            start = np.array([rng.choice(axis) for axis in AXES])
            ended, _ = l_bfgs(points, start, **PATIENT)
            assert ended >= best.objective * (1 - 1e-9), "L-BFGS ends lower"
            weight = np.bincount(draw, minlength=len(points)).astype(np.float64)
            l_bfgs(points, best.theta, weight, **PATIENT)

    clock = time.process_time
    seconds = alternate(
        {"lm_lab": timed(fit, clock), "L-BFGS": timed(fit_sample, clock)}, flags.rounds
    )
    # A start takes a fit from far away; a draw one from the fit, and its two from far away are not
    # counted.
    scale = (STARTS + DRAWS) / (2 * sample)
    seconds["L-BFGS"] = [scale * each for each in seconds["L-BFGS"]]
    yield from rates(
        f"{STARTS:,} starts, {DRAWS:,} draws", "fits/s", STARTS + DRAWS, "lm_lab", seconds
    )
