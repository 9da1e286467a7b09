import numpy as np
import pytest

from lm_lab.scaling.laws import LawFit, evaluate, fit_law, frontier
from lm_lab.scaling.records import Refusal
from lm_lab.scaling.valleys import fit_valleys


def valleys(points, resamples=0):
    return fit_valleys(points, 0.9, resamples, np.random.default_rng(0)).good()


def test_exponents_of_the_planted_surface(isoflop):
    fits = valleys(isoflop(ratio=1.2))
    assert fit_law("params", fits, 0.9).law.exponent.value == pytest.approx(0.36 / 0.71, abs=1e-6)
    assert fit_law("tokens", fits, 0.9).law.exponent.value == pytest.approx(0.35 / 0.71, abs=1e-6)


def test_five_budgets_find_the_irreducible_loss(isoflop):
    budgets = (1e11, 3e11, 1e12, 3e12, 1e13)
    fit = fit_law("loss", valleys(isoflop(budgets, ratio=1.2)), 0.9)
    assert fit.law.offset_source == "valleys"
    assert fit.law.offset == pytest.approx(
        0.7, abs=0.01
    )  # the exponent is searched on a grid of 2 % steps
    assert fit.law.exponent.value == pytest.approx(-0.35 * 0.36 / 0.71, rel=0.02)
    assert fit.law.at(1e12) == pytest.approx(
        evaluate(fit.coefficients[None], np.array([1e12]))[0, 0]
    )


def test_four_budgets_take_the_irreducible_loss_from_the_surface_or_refuse(isoflop):
    fits = valleys(isoflop(noise=0.002, ratio=1.2), resamples=50)
    refused = fit_law("loss", fits, 0.9)
    assert isinstance(refused, Refusal)
    assert refused.kind == "irreducible loss unknown"
    above = fit_law("loss", fits, 0.9, np.full(51, 5.0))
    assert isinstance(above, Refusal)
    drawn = np.random.default_rng(0).normal(0.7, 0.05, 51)
    fit = fit_law("loss", fits, 0.9, np.array([0.7, *drawn[1:]]))
    assert (fit.law.offset, fit.law.offset_source, fit.law.budgets) == (0.7, "surface", 4)
    np.testing.assert_allclose(fit.drawn[:, 0], drawn[1:])
    flops, best = 3e14, 0.7 + (fit.law.at(3e12) - 0.7) * 100 ** (-0.35 * 0.36 / 0.71)
    assert fit.law.at(flops) == pytest.approx(best, rel=0.02)


def test_two_budgets_leave_no_residual_and_one_no_law(isoflop):
    fits = valleys(isoflop(budgets=(1e11, 3e11)))
    assert fit_law("params", fits, 0.9).law.residual is None
    refused = fit_law("params", fits[:1], 0.9)
    assert isinstance(refused, Refusal)
    assert refused.kind == "too few budgets"


def test_valleys_without_an_interval_leave_their_laws_without(isoflop):
    assert fit_law("params", valleys(isoflop(sizes=4), 50), 0.9).law.exponent.low is not None
    assert fit_law("params", valleys(isoflop(sizes=3), 50), 0.9).law.exponent.low is None


def test_the_frontier_has_bands_that_widen_beyond_the_data(isoflop):
    fits = valleys(isoflop((1e11, 3e11, 1e12, 3e12, 1e13), noise=0.004), resamples=300)
    laws = [fit_law(quantity, fits, 0.9) for quantity in ("params", "tokens", "loss")]
    assert all(isinstance(law, LawFit) for law in laws)
    found = frontier(*laws, np.array([5e11, 1e15]), 0.9)
    width = np.log(np.array(found.params.high) / np.array(found.params.low))
    assert width[1] > 2 * width[0]
