"""What a design can tell, against simulated experiments that are fitted."""

import numpy as np
import pytest

from lm_lab.scaling.design import (
    Design,
    Law,
    candidates,
    huber_variance,
    judge,
    propose,
    reference_law,
)
from lm_lab.scaling.optimum import optimal_params, six_n
from lm_lab.scaling.points import make_points
from lm_lab.scaling.surface import SurfaceFit, fit_surface, log_loss, resample_surfaces

LAW = Law(0.7, 16.9, 0.35, 105.0, 0.36)  # of byte-level decoders of 1e4 parameters
NOISE = 0.01


def design_of(params, flops, rates=1) -> Design:
    params, flops = np.asarray(params, float), np.asarray(flops, float)
    ones = np.ones(len(params))
    return Design(params, flops / (6 * params), flops, flops, ones, ones * rates)


def isoflop(budgets, ratios, law=LAW, off=0.0) -> Design:
    best = optimal_params(law.theta, np.array(budgets)) * np.exp(off)
    return design_of(np.outer(best, ratios).ravel(), np.repeat(budgets, len(ratios)))


def simulated_exponents(design: Design, count: int, seed: int = 0) -> np.ndarray:
    """a of `count` fits of approach 3 to noisy losses of the design, all fitted at once."""
    rng, size = np.random.default_rng(seed), len(design)
    logs = log_loss(LAW.theta, np.log(design.params), np.log(design.tokens))
    loss = np.exp(logs + NOISE * rng.standard_normal((count, size)))
    params, tokens, flops = (
        np.tile(x, count) for x in (design.params, design.tokens, design.flops)
    )
    budget, seeds = np.tile(design.budget, count), np.repeat(np.arange(count), size)
    points = make_points(params, tokens, flops, loss.ravel(), budget=budget, seed=seeds)
    every = fit_surface(points)
    assert isinstance(every, SurfaceFit)
    thetas = resample_surfaces(points, np.arange(count * size).reshape(count, size), every)
    return thetas[:, 4] / (thetas[:, 2] + thetas[:, 4])


GOOD = isoflop([1e11, 3e11, 1e12, 3e12], 1.5 ** np.arange(-3, 4.0))


SMALL = isoflop([1e11, 3e11, 1e12], [0.35, 0.6, 1, 1.7, 2.9])


def test_the_width_to_expect_is_that_of_fits_to_simulated_runs():
    judged = judge(SMALL, LAW, NOISE)
    simulated = 2 * 1.645 * simulated_exponents(SMALL, 60).std(ddof=1)
    assert judged.exponent_width is not None
    # the s.d. of 60 draws is known within 9 %, and the theory is linear
    assert 0.75 < judged.exponent_width / simulated < 1.3


def test_the_condition_number_is_that_of_the_fit():
    loss = np.exp(log_loss(LAW.theta, np.log(GOOD.params), np.log(GOOD.tokens)))
    fit = fit_surface(make_points(GOOD.params, GOOD.tokens, GOOD.flops, loss, budget=GOOD.budget))
    assert isinstance(fit, SurfaceFit)
    assert judge(GOOD, LAW, NOISE).condition == pytest.approx(fit.condition, rel=1e-3)


def test_a_design_of_fixed_tokens_per_parameter_determines_no_exponent():
    params = np.geomspace(1e4, 1e6, 20)
    fixed = design_of(params, 6 * 20 * params**2)
    judged = judge(fixed, LAW, NOISE)
    assert judged.condition > 300
    assert judged.exponent_width is None
    assert judge(GOOD, LAW, NOISE).condition < 100


def test_a_prediction_is_as_uncertain_as_simulations_say_and_never_less_than_the_noise():
    held = isoflop([1e13], [0.6, 1.0, 1.7])
    judged = judge(GOOD, LAW, NOISE, held_out=held)
    assert judged.prediction_width is not None
    lone = 2 * 1.645 * NOISE * np.sqrt(0.56)  # the least of three normal values has variance .56
    assert lone < judged.prediction_width < 4 * lone
    sure = judge(GOOD, LAW, 1e-6, held_out=held)
    assert sure.prediction_width == pytest.approx(0, abs=1e-4)


def test_the_proposed_runs_tell_more_than_random_ones_of_the_same_cost():
    start, flops = isoflop([1e11, 3e11, 1e12], [0.6, 1, 1.7]), 5e12
    proposal = propose(start, LAW, NOISE, flops, six_n, 1e12)
    assert 0.8 * flops < proposal.cells.cost <= flops
    rng, grid = np.random.default_rng(0), candidates(start, LAW, six_n, 1e12)
    others = []
    for _ in range(5):
        order = rng.permutation(len(grid))
        paid = np.cumsum(grid.flops[order]) <= flops
        others.append(grid.where(order[paid][: len(proposal.cells)]))

    def spread(added):
        return simulated_exponents(start.joined(added), 30).std()

    assert spread(proposal.cells) < 0.8 * np.mean([spread(other) for other in others[:2]])
    widths = [judge(start.joined(other), LAW, NOISE).exponent_width for other in others]
    assert proposal.after is not None
    assert all(wide is None or proposal.after < wide for wide in widths)
    assert proposal.before is None or proposal.after < proposal.before
    assert proposal.repeated is None or proposal.after < proposal.repeated


def test_the_reference_law_has_its_valley_where_the_design_has_its_middle():
    law = reference_law(GOOD, six_n)
    middle = GOOD.where(GOOD.budget == 1e12)
    best = optimal_params(law.theta, np.array([1e12]))
    assert best[0] == pytest.approx(np.exp(np.log(middle.params).mean()), rel=1e-3)
    at_best = np.exp(log_loss(law.theta, np.log(best), np.log(1e12 / (6 * best))))
    assert at_best[0] == pytest.approx(1.0, rel=0.01)
    assert law.exponent == pytest.approx(0.5126, abs=1e-4)


def test_the_variance_of_a_huber_fit_lies_between_those_of_least_squares_and_of_the_median():
    assert huber_variance(1e-5) == pytest.approx(1.0, abs=1e-6)
    assert huber_variance(10.0) == pytest.approx(np.pi / 2, rel=1e-3)
    draws = np.random.default_rng(0).standard_normal((2000, 99))
    location = np.median(draws, axis=1)
    for _ in range(50):  # iteratively reweighted means, with the threshold at one s.d.
        far = np.abs(draws - location[:, None])
        weight = np.minimum(1, 1 / np.maximum(far, 1e-12))
        location = (weight * draws).sum(-1) / weight.sum(-1)
    assert 99 * location.var() == pytest.approx(huber_variance(1.0, 1.0), rel=0.1)
