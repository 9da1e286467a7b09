from lm_lab.scaling.analysis import analyse_isoflop
from lm_lab.scaling.doubts import valley_cautions
from lm_lab.scaling.valleys import fit_valleys

ASYMMETRIC = (1.0, 20.0, 0.25, 400.0, 0.45)


def kinds(points):
    return {caution.kind for caution in valley_cautions(fit_valleys(points, resamples=50), points)}


def test_a_significant_cubic_term_is_named_and_a_symmetric_surface_has_none(isoflop):
    wide = {"ratio": 1.9, "noise": 0.001}
    assert "skewed valleys" in kinds(isoflop(law=ASYMMETRIC, **wide))
    named = ["skewed valleys" in kinds(isoflop(ratio=1.4, noise=0.004, seed=s)) for s in range(40)]
    assert sum(named) <= 3  # one in a hundred each


def test_sizes_too_far_apart_for_the_window_are_named(isoflop):
    assert "wide window" in kinds(isoflop(ratio=5.0))
    assert "wide window" not in kinds(isoflop(ratio=1.5))


def test_no_noise_to_see_is_named(isoflop):
    assert "no residual" in kinds(isoflop(sizes=3))


def test_a_valley_lost_in_the_noise_is_named(isoflop):
    assert "unresolved valley" in kinds(isoflop(sizes=5, ratio=1.2, noise=0.008, seed=3))


def test_every_law_is_compared_with_the_held_out_budget_and_a_miss_is_named(isoflop):
    points = isoflop(noise=0.002)
    points.loss[points.budget == 3e12] *= 1.06
    found = analyse_isoflop(points, 3e12, resamples=100)
    compared = {(each.predictor, each.quantity): each.inside for each in found.comparisons}
    assert compared["surface", "loss"] is False
    assert compared["valley power law", "loss"] is False
    assert {quantity for _, quantity in compared} == {"loss", "params", "tokens"}
    assert found.held_out in found.comparisons
    missed = [c.where for c in found.cautions if c.kind == "held-out budget missed"]
    assert {"approach 2, lowest loss", "approach 3, lowest loss"} <= set(missed)
