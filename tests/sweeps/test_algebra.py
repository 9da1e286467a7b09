"""Laws of the algebra of sweeps."""

import doctest
import subprocess
import sys

import numpy as np
import pytest

from lm_lab.sweeps import algebra
from lm_lab.sweeps.algebra import (
    chain,
    choice,
    log_uniform,
    param,
    prefix,
    product,
    sample,
    subsample,
    together,
    uniform,
)
from lm_lab.types import UserError

A = param("a", [1, 2])
B = param("b", [3, 4, 5])
C = param("c", [6, 7])


def test_examples_run():
    failed, tried = doctest.testmod(algebra)
    assert tried > 5
    assert failed == 0


def test_product_has_every_combination_once():
    points = product(A, B, C)
    assert len(points) == len({tuple(point.items()) for point in points}) == 2 * 3 * 2


def test_product_is_associative_with_a_unit_and_distributes_over_chain():
    assert product(product(A, B), C) == product(A, product(B, C)) == product(A, B, C)
    assert product(A, product()) == product(product(), A) == product(A) == A
    assert product(chain(A, C), B) == chain(product(A, B), product(C, B))


def test_chain_is_associative_with_a_unit():
    assert chain(chain(A, B), C) == chain(A, chain(B, C))
    assert chain(A, chain()) == A
    assert len(chain(A, B, C)) == 7


def test_together_pairs_points():
    assert together(A, C) == [{"a": 1, "c": 6}, {"a": 2, "c": 7}]
    assert together(together(A, C), param("d", "xy")) == together(A, together(C, param("d", "xy")))


def test_prefix_commutes_with_product_and_composes():
    assert prefix("m", product(A, B)) == product(prefix("m", A), prefix("m", B))
    assert prefix("x", prefix("y", A)) == prefix("x.y", A)


def test_subsample_is_an_ordered_part_that_grows():
    points = product(A, B, C)
    for count in range(len(points) + 1):
        chosen = subsample(points, count, seed=3)
        assert len(chosen) == count
        assert chosen == [point for point in points if point in chosen]
        assert all(
            point in subsample(points, min(count + 1, len(points)), seed=3) for point in chosen
        )
    assert subsample(points, 6, seed=3) != subsample(points, 6, seed=4)


def test_subsample_is_the_same_in_another_process():
    program = (
        "from lm_lab.sweeps.algebra import *; print(subsample(param('a', range(50)), 7, seed=1))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == str(subsample(param("a", range(50)), 7, seed=1))


def test_nothing_is_changed_or_shared():
    points = [{"a": 1}]
    for sweep in (product(points), chain(points), together(points), subsample(points, 1, seed=0)):
        sweep[0]["a"] = 2
    assert points == [{"a": 1}]


def test_numpy_values_become_plain():
    types = {
        type(point["a"])
        for point in chain(param("a", np.arange(2)), param("a", np.linspace(0, 1, 2)))
    }
    assert types == {int, float}


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: product(A, B, param("a", [9])), "a is set by two sweeps of one product: 1 and 9"),
        (lambda: together(A, param("a", [9, 8])), "a is set by two sweeps"),
        (lambda: together(A, B), "equal lengths, not 2, 3"),
        (lambda: param("a", []), "a has no values"),
        (lambda: subsample(A, 3, seed=0), "count must lie in 0 .. 2, the size of the sweep, not 3"),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises(UserError, match=words):
        make()


SPREADS = {"rate": log_uniform(1e-4, 1e-1), "decay": uniform(0, 0.3), "depth": choice([2, 4, 8])}


def test_a_sample_grows_by_points_and_by_keys():
    drawn = sample(SPREADS, 40, seed=1)
    assert drawn[:15] == sample(SPREADS, 15, seed=1)
    fewer = {key: SPREADS[key] for key in ("rate", "depth")}
    assert [{key: point[key] for key in fewer} for point in drawn] == sample(fewer, 40, seed=1)
    assert drawn != sample(SPREADS, 40, seed=2)


def test_a_sample_is_spread_as_asked():
    """Means and shares of 4,000 points, within four standard errors."""
    drawn = sample(SPREADS, 4000, seed=0)
    logs = np.log10([point["rate"] for point in drawn])
    decays = np.array([point["decay"] for point in drawn])
    error = 4 / np.sqrt(12 * len(drawn))  # of the mean of a uniform share
    assert logs.min() >= -4
    assert logs.max() <= -1
    assert abs((logs.mean() + 4) / 3 - 0.5) < error
    assert abs(decays.mean() / 0.3 - 0.5) < error
    for depth in (2, 4, 8):
        share = np.mean([point["depth"] == depth for point in drawn])
        assert abs(share - 1 / 3) < 4 * np.sqrt(2 / 9 / len(drawn))
    # keys are drawn apart: their correlation is about 1 / sqrt(4000)
    assert abs(np.corrcoef(logs, decays)[0, 1]) < 4 / np.sqrt(len(drawn))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: log_uniform(0, 1), "low must be above 0 and below high, not 0 and 1"),
        (lambda: uniform(2, 1), "low must be below high, not 2 and 1"),
        (lambda: choice([]), "choice has no values"),
        (lambda: sample(SPREADS, 0, seed=0), "a count of 1 or more, not 0"),
        (lambda: sample({}, 3, seed=0), "give one key or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
