import numpy as np
import pytest

from lm_lab.scaling.laws import LawFit, evaluate, fit_law, frontier
from lm_lab.scaling.records import Refusal
from lm_lab.scaling.variants import fit_valleys


def valleys(points, resamples=0):
    return fit_valleys(points, 0.9, resamples, np.random.default_rng(0))


def test_exponents_of_the_planted_surface(isoflop):
    fits = valleys(isoflop(ratio=1.2))
    assert fit_law("params", fits, 0.9).law.exponent.value == pytest.approx(0.36 / 0.71, abs=1e-6)
    assert fit_law("tokens", fits, 0.9).law.exponent.value == pytest.approx(0.35 / 0.71, abs=1e-6)


def test_four_budgets_find_the_irreducible_loss(isoflop):
    fit = fit_law("loss", valleys(isoflop(ratio=1.2)), 0.9)
    assert fit.law.offset == pytest.approx(
        0.7, abs=0.01
    )  # the exponent is searched on a grid of 2 % steps
    assert fit.law.exponent.value == pytest.approx(-0.35 * 0.36 / 0.71, rel=0.02)
    assert fit.law.at(1e12) == pytest.approx(
        evaluate(fit.coefficients[None], np.array([1e12]))[0, 0]
    )


def test_three_budgets_give_a_straight_law_of_loss(isoflop):
    law = fit_law("loss", valleys(isoflop(budgets=(1e11, 3e11, 1e12))), 0.9).law
    assert (law.offset, law.budgets) == (0.0, 3)
    assert law.residual > 0


def test_two_budgets_leave_no_residual_and_one_no_law(isoflop):
    fits = valleys(isoflop(budgets=(1e11, 3e11)))
    assert fit_law("params", fits, 0.9).law.residual is None
    refused = fit_law("params", fits[:1], 0.9)
    assert isinstance(refused, Refusal)
    assert refused.kind == "too few budgets"


def test_a_valley_without_an_interval_leaves_its_laws_without(isoflop):
    points = isoflop(noise=0.002)
    few = points.where(
        ~np.isin(np.arange(len(points)), [0, 1, 5, 6])
    )  # three sizes left at the first budget
    assert fit_law("params", valleys(points, resamples=50), 0.9).law.exponent.low is not None
    assert fit_law("params", valleys(few, resamples=50), 0.9).law.exponent.low is None


def test_the_frontier_has_bands_that_widen_beyond_the_data(isoflop):
    fits = valleys(isoflop(noise=0.004), resamples=300)
    laws = [fit_law(quantity, fits, 0.9) for quantity in ("params", "tokens", "loss")]
    assert all(isinstance(law, LawFit) for law in laws)
    found = frontier(*laws, np.array([5e11, 1e15]), 0.9)
    width = np.log(np.array(found.params.high) / np.array(found.params.low))
    assert width[1] > 2 * width[0]
