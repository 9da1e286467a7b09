from dataclasses import replace

import numpy as np
import pytest

from lm_lab.scaling.laws import fit_law
from lm_lab.scaling.points import make_points
from lm_lab.scaling.records import Refusal
from lm_lab.scaling.surface import fit_surface
from lm_lab.scaling.valleys import fit_valleys


def fit(points, resamples=0, **settings):
    """The fit or refusal of a table of one budget."""
    (found,) = fit_valleys(points, 0.9, resamples, np.random.default_rng(0), **settings).fits
    return found


def parabola(at=1e4, curvature=0.1, sizes=5, per_token=lambda n: 6 * n):
    params = np.geomspace(5e3, 5e4, sizes)
    tokens = 1e11 / per_token(params)
    return make_points(
        params, tokens, np.full(sizes, 1e11), 2.0 + curvature * np.log(params / at) ** 2
    )


def test_the_vertex_of_a_parabola_is_found():
    valley = fit(parabola()).valley
    assert valley.params.value == pytest.approx(1e4, rel=1e-9)
    assert valley.loss.value == pytest.approx(2.0, rel=1e-12)
    assert valley.flops == pytest.approx(1e11)
    assert valley.at(1e4 * np.e) == pytest.approx(2.1, rel=1e-9)
    assert valley.noise == pytest.approx(0.0, abs=1e-12)


def test_d_star_comes_from_the_runs_and_not_from_6nd():
    valley = fit(parabola(sizes=9, per_token=lambda n: 6 * n + 9e4)).valley
    assert valley.tokens.value == pytest.approx(1e11 / (6e4 + 9e4), rel=2e-3)


@pytest.mark.parametrize("power", [1.0, 1.2])
def test_d_star_is_c_over_the_cost_of_n_star_exactly(power):
    # the vertex lies between two sizes, where log D is not straight in log N of a table with
    # rounded tokens; C / D = 7 N^power is recovered all the same
    valley = fit(parabola(at=1.3e4, per_token=lambda n: 7 * n**power)).valley
    product = valley.tokens.value * 7 * valley.params.value**power
    assert product == pytest.approx(1e11, rel=1e-9)


def test_d_star_does_not_follow_the_rounding_of_its_two_neighbours():
    points = parabola(at=1.3e4, sizes=7)
    tokens = points.tokens * np.array([1.02, 0.98, 1.02, 0.98, 1.02, 0.98, 1.02])
    smooth, rounded = fit(points).valley, fit(replace(points, tokens=tokens)).valley
    assert rounded.tokens.value == pytest.approx(smooth.tokens.value, rel=0.01)


@pytest.mark.parametrize(
    "points, kind",
    [
        (parabola(sizes=2), "too few points"),
        (parabola(curvature=-0.1), "wrong curvature"),
        (parabola(at=1e3), "vertex outside the data"),
        (parabola(at=1e6), "vertex outside the data"),
    ],
)
def test_refusals(points, kind):
    found = fit(points)
    assert isinstance(found, Refusal)
    assert (found.kind, found.where) == (kind, "budget 1e+11")


def test_the_refusal_says_on_which_side_to_add_models():
    assert "smaller" in fit(parabola(at=1e3)).message
    assert "larger" in fit(parabola(at=1e6)).message


def test_three_sizes_give_a_vertex_without_an_interval():
    found = fit(parabola(sizes=3), resamples=50)
    assert found.drawn is None
    assert (found.valley.params.low, found.valley.noise) == (None, None)


def test_three_sizes_have_an_interval_from_the_noise_of_another_budget(isoflop):
    points = isoflop(budgets=(1e11, 1e12), noise=0.004)
    few = points.where(~np.isin(np.arange(len(points)), [0, 1, 5, 6]))
    found = fit_valleys(few, resamples=100)
    assert [valley.valley.points for valley in found.good()] == [3, 7]
    assert all(valley.valley.params.low is not None for valley in found.good())
    assert found.noise.freedom == 4


def test_seeds_tell_the_noise_that_three_sizes_do_not():
    points = replace(parabola(sizes=3), runs=np.full(3, 4.0), loss_sd=np.full(3, 0.02))
    found = fit_valleys(points, resamples=2000)
    assert (found.noise.freedom, found.noise.seed_freedom) == (9, 9)
    assert found.noise.deviation == pytest.approx(0.02 / points.loss.min())
    # L* is the middle point, at the mean of four runs: its s.d. is that of the noise over 2,
    # times the t of 9 degrees; the skew's prior adds nothing there.
    loss = found.good()[0].valley.loss
    assert (loss.high - loss.low) / 2 == pytest.approx(1.83 * 0.02 / 2, rel=0.1)


def test_more_seeds_weigh_more():
    points = parabola(sizes=5)
    rough = replace(points, loss=points.loss + np.array([0.0, 0.01, 0.0, 0.0, 0.0]))
    equal, heavy = (
        fit(replace(rough, runs=runs), skewed=False).valley.at(rough.params[1])
        for runs in (np.ones(5), np.array([1.0, 50.0, 1.0, 1.0, 1.0]))
    )
    assert rough.loss[1] - heavy < 0.3 * (rough.loss[1] - equal)


def test_a_valley_that_the_noise_hides_is_marked_and_its_draws_cut_off():
    points = parabola(at=7e3, sizes=6, curvature=0.02)
    rough = replace(points, loss=points.loss + np.array([0.03, -0.03, 0.02, -0.02, 0.03, -0.03]))
    found = fit(rough, resamples=200)
    assert 0 < found.unresolved < 1
    assert np.isfinite(found.drawn).all()
    assert found.valley.params.high <= 10.001 * 5e4


@pytest.mark.parametrize(
    "law, off",
    [
        ((0.7, 16.9, 0.35, 105.0, 0.36), 0.0),
        ((0.7, 16.9, 0.35, 105.0, 0.36), 0.5),
        ((1.0, 20.0, 0.25, 400.0, 0.45), 0.0),
    ],
    ids=["symmetric", "off-centre", "asymmetric"],
)
def test_intervals_of_the_optimum_and_its_exponent_cover_about_nine_times_in_ten(isoflop, law, off):
    E, A, alpha, B, beta = law
    flops = np.array([1e11, 3e11, 1e12])
    best = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    lowest = E + A * best**-alpha + B * (flops / (6 * best)) ** -beta
    hits = np.zeros((100, 4))
    for seed in range(100):
        points = isoflop(budgets=tuple(flops), noise=0.004, seed=seed, law=law, off=off)
        fits = fit_valleys(points, 0.9, 100, np.random.default_rng(seed)).good()
        exponent = fit_law("params", fits, 0.9).law.exponent
        hits[seed, 0] = exponent.low < beta / (alpha + beta) < exponent.high
        for fit, params, loss in zip(fits, best, lowest):
            valley = fit.valley
            hits[seed, 1] += (valley.params.low < params < valley.params.high) / 3
            tokens = 1 / (6 * params) * valley.budget
            hits[seed, 2] += (valley.tokens.low < tokens < valley.tokens.high) / 3
            hits[seed, 3] += (valley.loss.low < loss < valley.loss.high) / 3
    # a: binomial(100, .9) is under 82 once in 100; the valleys of one table share their skew
    assert hits.mean(0) == pytest.approx(0.9, abs=0.085)


def test_kaplans_surface_gives_its_own_exponent():
    # 2001.08361: L(N, D) = [(Nc/N)^(aN/aD) + Dc/D]^aD with .076, .103, 6.4e13, 1.8e13. At C = 6ND
    # the bracket is u N^-p + v N, p = aN/aD, so N* = (p u / v)^(1 / (1 + p)) ~ C^(aD / (aN + aD));
    # approach 2 knows none of this.
    p = 0.076 / 0.103

    def vertex(flops, off):
        u, v = 6.4e13**p, 6 * 1.8e13 / flops
        params = (p * u / v) ** (1 / (1 + p)) * off * np.geomspace(0.7, 1.4, 7)
        loss = (u * params**-p + v * params) ** 0.103
        return fit(
            make_points(params, flops / (6 * params), np.full(7, flops), loss)
        ).valley.params.value

    exponent = np.log(vertex(1e21, 1.1) / vertex(1e17, 0.95)) / np.log(1e4)
    assert exponent == pytest.approx(0.103 / (0.076 + 0.103), abs=5e-4)


def test_plain_parabolas_are_biased_off_centre_where_skewed_ones_and_approach_3_are_not(isoflop):
    # 2603.22339: wide, off-centre grids and alpha != beta move the vertex of a parabola.
    law = (1.0, 20.0, 0.25, 400.0, 0.45)
    points = isoflop(law=law, ratio=2.5, off=0.7)
    truth = (0.25 * 20.0 / (0.45 * 400.0)) ** (1 / 0.7) * (1e11 / 6) ** (0.45 / 0.7)
    plain, skewed = (
        fit_valleys(points, factor=factor, skewed=skew).good()[0].valley.params.value / truth
        for factor, skew in ((np.inf, False), (8.0, True))
    )
    assert abs(np.log(plain)) > 0.1
    assert abs(np.log(skewed)) < 0.02
    np.testing.assert_allclose(fit_surface(points).theta[[2, 4]], [0.25, 0.45], atol=1e-6)
