"""Planted isoFLOP studies: runs on a known surface, with known noise."""

import csv
from collections.abc import Callable

import numpy as np
import pytest

from lm_lab.scaling.points import Points, make_points

# A surface like that of byte-level decoders of 1e4 parameters: (E, A, alpha, B, beta).
SMALL = (0.7, 16.9, 0.35, 105.0, 0.36)
SMALL_BUDGETS = (1e11, 3e11, 1e12, 3e12)


@pytest.fixture
def isoflop() -> Callable[..., Points]:
    """isoflop(budgets, sizes, ratio, noise, seed, law, off): `sizes` models a budget, a factor
    `ratio` apart.

    The grid is centred `off` (in log N) away from the optimum at C = 6ND; noise is the s.d. of log
    loss.
    """

    def make(
        budgets=SMALL_BUDGETS, sizes=7, ratio=1.5, noise=0.0, seed=0, law=SMALL, off=0.0
    ) -> Points:
        E, A, alpha, B, beta = law
        steps = np.arange(sizes) - (sizes - 1) / 2
        flops = np.repeat(budgets, sizes)
        best = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (flops / 6) ** (
            beta / (alpha + beta)
        )
        params = best * np.exp(off) * ratio ** np.tile(steps, len(budgets))
        tokens = flops / (6 * params)
        loss = E + A * params**-alpha + B * tokens**-beta
        loss = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(loss)))
        return make_points(params, tokens, flops, loss)

    return make


@pytest.fixture
def read_points(shared_data) -> Callable[..., Points]:
    """read_points(file, loss column, **values that rows must have) of the shared scaling data."""

    def read(name: str, loss: str = "loss", **chosen: str) -> Points:
        with (shared_data / "scaling" / name).open(encoding="utf-8") as file:
            rows = [
                row
                for row in csv.DictReader(file)
                if all(row[key] == value for key, value in chosen.items())
            ]
        return make_points(*[[float(row[key]) for row in rows] for key in ("N", "D", "C", loss)])

    return read
