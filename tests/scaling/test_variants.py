import numpy as np
import pytest

from lm_lab.scaling.optimum import six_n
from lm_lab.scaling.outliers import surface_outliers
from lm_lab.scaling.surface import fit_surface
from lm_lab.scaling.variants import surface_variants, valley_variants


def by_name(variants):
    return {variant.name: variant for variant in variants}


def test_exact_data_leave_nothing_to_choose(isoflop):
    points = isoflop()
    for variant in surface_variants(points, fit_surface(points), six_n):
        assert variant.exponent_params == pytest.approx(0.36 / 0.71, abs=1e-4), variant.name


@pytest.mark.data
def test_outliers_show_what_the_objective_decides(read_points):
    points = read_points("synth_v2.csv")
    fit = fit_surface(points)
    found = by_name(surface_variants(points, fit, six_n))
    truth = 0.36 / 0.71
    assert abs(found["approach 3"].exponent_params - truth) < 0.02
    assert abs(found["approach 3 without outliers"].exponent_params - truth) < 0.02
    assert abs(found["approach 3, least squares"].exponent_params - truth) > 0.05
    typical = by_name(valley_variants(points, points.where(~surface_outliers(fit))))
    assert abs(typical["approach 2"].exponent_params - truth) < 0.03
    assert {"approach 2 with outliers", "approach 2 without budget 1e+19"} <= typical.keys()


def test_windows_and_curves_hardly_matter_to_exact_data(isoflop):
    points = isoflop()
    found = by_name(valley_variants(points, points))
    assert {
        "approach 2, all sizes",
        "approach 2, a cubic a budget",
        "approach 2, Akima's spline",
        "approach 2, parabolas without skew",
        "approach 2, window x4",
    } <= found.keys()
    for variant in found.values():
        assert variant.exponent_params == pytest.approx(0.36 / 0.71, abs=2e-3), variant.name
        assert variant.params == pytest.approx(found["approach 2"].params, rel=0.01), variant.name


def test_many_budgets_have_no_variant_each(isoflop):
    points = isoflop(budgets=tuple(np.geomspace(1e11, 1e13, 14)))
    assert not any("without budget" in v.name for v in valley_variants(points, points))


def test_a_variant_that_is_refused_has_no_values(isoflop):
    points = isoflop()
    lonely = points.where(np.isin(np.arange(len(points)), [0, 1, 7, 8, 14, 15]))
    assert all(variant.exponent_params is None for variant in valley_variants(lonely, lonely))
    assert valley_variants(points.where([]), points.where([])) == []
