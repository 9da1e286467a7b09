from dataclasses import replace

import numpy as np

from lm_lab.scaling.bootstrap import resample
from lm_lab.scaling.held_out import compare, predict_from_law, predict_loss
from lm_lab.scaling.laws import fit_law
from lm_lab.scaling.surface import fit_surface, resample_surfaces
from lm_lab.scaling.variants import fit_valleys


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


def test_the_law_of_the_valleys_predicts_too(isoflop):
    fits = fit_valleys(isoflop(noise=0.002), 0.9, 200, np.random.default_rng(0))
    predicted = predict_from_law(
        fit_law("loss", fits, 0.9), fits, 1e13, 0.9, np.random.default_rng(0)
    )
    best = isoflop(budgets=(1e13,)).loss.min()
    assert predicted.low < best < predicted.high


def test_without_an_interval_nobody_can_say(isoflop):
    points = isoflop(sizes=3)
    fits = fit_valleys(points, 0.9, 200, np.random.default_rng(0))
    predicted = predict_from_law(
        fit_law("loss", fits, 0.9), fits, 1e13, 0.9, np.random.default_rng(0)
    )
    assert compare(points, 3e12, "valley power law", predicted).inside is None
