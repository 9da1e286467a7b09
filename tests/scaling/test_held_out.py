from dataclasses import replace

import numpy as np

from lm_lab.scaling.bootstrap import resample
from lm_lab.scaling.held_out import compare, predict_from_laws, predict_loss
from lm_lab.scaling.laws import fit_law
from lm_lab.scaling.surface import fit_surface, resample_surfaces
from lm_lab.scaling.valleys import fit_valleys

FIVE = (1e11, 3e11, 1e12, 3e12, 1e13)  # budgets from which L*(C) has its E fitted


def predicted_and_observed(points, seed):
    held = points.budget == points.budget.max()
    seen, rng = points.where(~held), np.random.default_rng(seed)
    fit = fit_surface(seen)
    thetas = resample_surfaces(seen, resample(seen.budget, 100, rng), fit)
    return predict_loss(
        fit, thetas, points.params[held], points.tokens[held], 0.9, rng
    ), points.where(held)


def test_a_prediction_interval_covers_about_nine_times_in_ten(isoflop):
    inside = 0
    for seed in range(30):
        predicted, held = predicted_and_observed(isoflop(noise=0.008, seed=seed), seed)
        inside += compare(held, 3e12, "surface", predicted).inside
    assert inside >= 23  # binomial(30, .9) is under 23 once in 100


def test_a_run_off_the_law_falls_outside(isoflop):
    predicted, held = predicted_and_observed(isoflop(noise=0.002), 0)
    worse = replace(held, loss=held.loss * 1.1)
    found = compare(worse, 3e12, "surface", predicted)
    assert (found.inside, found.observed) == (False, worse.loss.min())


def of_valleys(points, held):
    valleys = fit_valleys(points, 0.9, 200, np.random.default_rng(0))
    loss, params = (fit_law(of, valleys.good(), 0.9) for of in ("loss", "params"))
    return predict_from_laws(loss, params, valleys, held, 0.9, np.random.default_rng(0))


def test_the_laws_of_the_valleys_predict_too(isoflop):
    held = isoflop(budgets=(3e13,), off=0.3)
    predicted = of_valleys(isoflop(FIVE, noise=0.002), held)
    assert predicted.low < held.loss.min() < predicted.high


def test_three_budgets_predict_the_fourth_by_their_valleys_nine_times_in_ten(isoflop):
    # A pure power law (E = 0) through three such budgets covers in half of them at best. Here E is
    # known to +- .1 nats, as from a surface.
    inside = 0
    for seed in range(80):
        rng = np.random.default_rng([seed, 1])
        points = isoflop(sizes=5, ratio=1.7, noise=0.008, seed=seed)
        held = points.budget == 3e12
        valleys = fit_valleys(points.where(~held), 0.9, 200, rng)
        if len(valleys.good()) < 3:
            continue
        fitted = 0.7 + 0.1 * rng.standard_normal()
        irreducible = np.array([fitted, *(fitted + 0.1 * rng.standard_normal(200))])
        loss = fit_law("loss", valleys.good(), 0.9, irreducible)
        params = fit_law("params", valleys.good(), 0.9)
        predicted = predict_from_laws(loss, params, valleys, points.where(held), 0.9, rng)
        inside += predicted.low < points.loss[held].min() < predicted.high
    assert 64 <= inside <= 78  # binomial(80, .9) is under 65 or over 78 once in 50


def test_sizes_far_from_the_optimum_are_predicted_to_lose(isoflop):
    # two sizes at 4.5 and 6.8 times N*: the lowest of them lies above L*
    near, far = (isoflop(budgets=(3e13,), sizes=2, off=off) for off in (0.0, 1.7))
    points = isoflop(FIVE, noise=0.002)
    predicted = of_valleys(points, far)
    assert predicted.low > of_valleys(points, near).high
    assert predicted.low < far.loss.min() < predicted.high


def test_without_an_interval_nobody_can_say(isoflop):
    points = isoflop(FIVE, sizes=3)
    predicted = of_valleys(points, isoflop(budgets=(3e13,)))
    assert compare(points, 3e12, "valley power law", predicted).inside is None
