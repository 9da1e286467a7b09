from dataclasses import replace

import numpy as np
import pytest

from lm_lab.scaling.analysis import analyse_isoflop
from lm_lab.scaling.guards import refuse_exponents
from lm_lab.scaling.optimum import MeasuredCost
from lm_lab.scaling.points import make_points
from lm_lab.scaling.records import Band, Estimate, Frontier
from lm_lab.scaling.units import check_units


def kinds(items):
    return [item.kind for item in items]


def test_a_cell_in_another_unit_is_left_out_of_every_fit(isoflop):
    points = isoflop(noise=0.002)
    params = points.params.copy()
    params[9] *= 1e6
    wrong, without = (
        analyse_isoflop(data, resamples=20)
        for data in (replace(points, params=params), points.where(np.arange(len(points)) != 9))
    )
    assert [c.kind for c in wrong.cautions if "C / (N D)" in c.message] == ["run left out"]
    assert wrong.surface == without.surface
    assert wrong.frontiers == without.frontiers


@pytest.mark.parametrize("column, factor", [("params", 1e6), ("tokens", 1e-9)])
def test_a_cell_in_another_unit_is_left_out_where_compute_was_counted_from_it(
    isoflop, column, factor
):
    points = isoflop(noise=0.002)
    values = getattr(points, column).copy()
    values[9] *= factor
    points = replace(points, **{column: values})
    points = replace(points, flops=6 * points.params * points.tokens)
    check = check_units(points)
    assert np.flatnonzero(check.odd).tolist() == [9]
    assert kinds(check.cautions) == ["run left out"]


@pytest.mark.parametrize(
    "changed, kind",
    [
        (lambda p: replace(p, tokens=p.tokens / 5e5, flops=p.flops / 5e5), "unusual tokens"),
        (lambda p: replace(p, params=p.tokens, tokens=p.params), "unusual tokens"),
    ],
)
def test_what_is_possible_but_usual_of_another_quantity_is_doubted(isoflop, changed, kind):
    (caution,) = check_units(changed(isoflop())).cautions
    assert caution.kind.startswith(kind)


def test_tokens_in_billions_give_no_optimum(isoflop):
    points = isoflop()
    found = analyse_isoflop(replace(points, tokens=points.tokens / 1e9), resamples=5)
    assert found.frontiers == ()
    assert "units do not agree" in kinds(found.refusals)
    assert "compute is not about 6ND" in kinds(found.cautions)


@pytest.mark.parametrize("seed", range(3))
def test_a_surface_that_one_term_saturates_gives_no_optimum(seed):
    # Loss that falls with N alone: the best model of any budget would be boundless.
    flops = np.repeat([1e18, 1e19, 1e20], 6)
    params = np.tile(np.geomspace(1e7, 1e9, 6), 3)
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(18))
    points = make_points(params, flops / 6 / params, flops, (2 + 300 * params**-0.4) * noise)
    found = analyse_isoflop(points, resamples=5)
    assert found.frontiers == ()
    why = {refusal.kind for refusal in found.refusals if refusal.where == "approach 3"}
    assert why & {"no optimum", "optimum far outside the data", "parameter at a bound"}


def test_exponents_outside_0_and_1_are_refused():
    band = Band((1.0,), (1.0,), (None,), (None,))
    steep, fair = (
        Frontier("approach 2", Estimate(a), Estimate(1 - a), band, band, band) for a in (1.2, 0.6)
    )
    refusal = refuse_exponents(steep)
    assert refusal is not None
    assert refusal.kind == "exponent outside (0, 1)"
    assert refuse_exponents(fair) is None


def test_a_smooth_cost_of_small_models_is_no_jump(isoflop):
    # a head that N does not count: C / (N D) falls from 54 to 6 over the sizes
    points = isoflop(sizes=9)
    flops = points.tokens * (6 * points.params + 6 * 257 * np.sqrt(points.params))
    check = check_units(replace(points, flops=flops))
    assert not check.odd.any()
    assert kinds(check.cautions) == ["compute is not about 6ND"]
    assert check.refusal is None


def test_the_usual_count_is_not_doubted(isoflop):
    check = check_units(isoflop())
    assert (check.cautions, check.refusal) == ((), None)


def test_one_odd_cell_does_not_bend_the_measured_cost():
    params = np.geomspace(1e4, 1e6, 9)
    flops = 6 * params * 1e7
    flops[4] *= 3
    cost = MeasuredCost.of(params, np.full(9, 1e7), flops)
    assert cost(params) == pytest.approx(6 * params, rel=1e-3)
