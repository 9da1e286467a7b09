from dataclasses import replace

import numpy as np
import pytest

from lm_lab.scaling.points import make_points
from lm_lab.scaling.records import Refusal
from lm_lab.scaling.surface import fit_surface
from lm_lab.scaling.valleys import fit_valley


def fit(points, resamples=0):
    return fit_valley(points, 0.9, resamples, np.random.default_rng(0))


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
    assert valley.tokens.value == pytest.approx(1e11 / (6e4 + 9e4), rel=0.01)


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
    assert found.resampled is None
    assert (found.valley.params.low, found.valley.noise) == (None, None)


def test_resamples_that_have_no_vertex_in_the_data_are_marked():
    points = parabola(at=5.2e3, sizes=6)
    rough = replace(points, loss=points.loss + np.array([0.03, -0.03, 0.02, -0.02, 0.03, -0.03]))
    refused = np.isnan(fit(rough, resamples=200).resampled).any(-1)
    assert 0 < refused.sum() < 200


def test_the_interval_covers_about_nine_times_in_ten(isoflop):
    clean = fit(isoflop(budgets=(1e11,))).valley.params.value
    covered = 0
    for seed in range(100):
        params = fit(isoflop(budgets=(1e11,), noise=0.004, seed=seed), resamples=200).valley.params
        covered += params.low < clean < params.high
    assert covered >= 82  # binomial(100, .9) is under 82 once in 100


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


def test_approach_2_is_biased_off_centre_where_approach_3_is_not(isoflop):
    # 2603.22339: wide, off-centre grids and alpha != beta move the vertex of a parabola.
    law = (1.0, 20.0, 0.25, 400.0, 0.45)
    points = isoflop(law=law, ratio=2.5, off=0.7)
    truth = (0.25 * 20.0 / (0.45 * 400.0)) ** (1 / 0.7) * (1e11 / 6) ** (0.45 / 0.7)
    valley = fit(points.where(points.budget == 1e11)).valley
    assert abs(np.log(valley.params.value / truth)) > 0.1
    np.testing.assert_allclose(fit_surface(points).theta[[2, 4]], [0.25, 0.45], atol=1e-6)
