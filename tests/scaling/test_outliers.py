import numpy as np
import pytest

from lm_lab.scaling.outliers import surface_outliers, valley_outliers
from lm_lab.scaling.surface import SurfaceFit

BUDGETS = (1e11, 3e11, 1e12)


def test_clean_tables_of_fifteen_points_seldom_name_one(isoflop):
    # SHARE is 2.5 %: binomial(200, .025) is over 11 once in 100
    named = [
        valley_outliers(isoflop(BUDGETS, sizes=5, ratio=1.7, noise=0.008, seed=seed)).any()
        for seed in range(200)
    ]
    assert sum(named) <= 11


def test_a_point_off_its_valley_is_named_and_no_other(isoflop):
    points = isoflop(BUDGETS, sizes=5, ratio=1.7, noise=0.002)
    points.loss[7] *= 1.05
    assert np.flatnonzero(valley_outliers(points)).tolist() == [7]


def test_a_misfit_of_the_surface_takes_no_point_out_of_a_valley(isoflop):
    # every point of one budget 5 % up: off any surface, and a perfect valley
    points = isoflop(BUDGETS, sizes=5, ratio=1.7, noise=0.002)
    points.loss[points.budget == 3e11] *= 1.05
    assert not valley_outliers(points).any()


@pytest.mark.parametrize("sizes", [3, 4])
def test_a_valley_of_few_sizes_keeps_them_all(isoflop, sizes):
    points = isoflop(BUDGETS, sizes=sizes, noise=0.002)
    points.loss[1] *= 1.2
    assert not valley_outliers(points).any()


def test_the_scale_leaves_out_the_points_that_the_fit_passes_through():
    def fit(residuals):
        return SurfaceFit(np.zeros(5), np.array(residuals), 0.0, 1.0, np.ones(len(residuals)))

    # 5 of 15 residuals are 0, as those of a fit with a small Huber threshold, the others all 1 %
    through = [0.0] * 5 + [0.01] * 10
    assert not surface_outliers(fit(through)).any()
    assert surface_outliers(fit([*through[:-1], 0.2])).tolist() == [False] * 14 + [True]
