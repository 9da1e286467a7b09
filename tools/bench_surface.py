#!/usr/bin/env python3
"""The time of approach 3 beside SciPy's L-BFGS, one start at a time, on one core.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tools/bench_surface.py

Both fit 240 simulated points of 2404.10102's surface: from 4,500 published starts, and 2,000
bootstrap draws (from the fit and two starts each). L-BFGS takes a sample of the starts and draws,
and its time is scaled up. The two alternate, so that a busy machine slows both.
"""

import argparse
import time

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from lm_lab.scaling.planted import surface
from lm_lab.scaling.points import Points, make_points
from lm_lab.scaling.surface import HUBER, SurfaceFit, fit_surface, resample_surfaces

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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=6, help="fits by L-BFGS a round")
    options = parser.parse_args()
    points, rng = table(), np.random.default_rng(0)
    ours, theirs, lower, count = [], [], 0, len(points)
    for _ in range(options.rounds):
        index = rng.integers(count, size=(DRAWS, count))
        began = time.process_time()
        fit = fit_surface(points)
        assert isinstance(fit, SurfaceFit)
        resample_surfaces(points, index, fit)
        ours.append(time.process_time() - began)
        began = time.process_time()
        for draw in range(options.sample):
            start = np.array([rng.choice(axis) for axis in AXES])
            ended, _ = l_bfgs(points, start, **PATIENT)
            lower += ended < fit.objective * (1 - 1e-9)
            weight = np.bincount(index[draw], minlength=count).astype(np.float64)
            l_bfgs(points, fit.theta, weight, **PATIENT)
        theirs.append((time.process_time() - began) / options.sample)
    # a start takes a fit from far away; a draw takes one from the fit, and its two from far away
    # are not counted
    scaled = np.median(theirs) / 2 * (STARTS + DRAWS)
    print(
        f"lm_lab: {np.median(ours):.2f} s for {STARTS} starts and {DRAWS} draws of {count} points"
    )
    print(f"L-BFGS: {scaled:.1f} s, {scaled / np.median(ours):.0f} times as long")
    print(f"starts from which L-BFGS ended lower: {lower} of {options.rounds * options.sample}")


if __name__ == "__main__":
    main()
