import numpy as np
import pytest

from lm_lab.scaling.bootstrap import estimate, resample


def test_draws_stay_in_their_stratum_and_repeat_by_seed():
    strata = np.repeat([1.0, 2.0], [4, 3])
    index = resample(strata, 50, np.random.default_rng(0))
    assert (strata[index] == strata).all()
    np.testing.assert_array_equal(index, resample(strata, 50, np.random.default_rng(0)))


def test_lonely_points_are_pooled_so_that_they_vary():
    index = resample(np.arange(6.0), 200, np.random.default_rng(0))
    assert len(np.unique(index[:, 0])) == 6


def test_an_interval_would_hold_one_more_draw_of_those_that_were_not_refused():
    # of 99 draws and one more, the lowest five in a hundred lie below the fifth draw
    found = estimate(5.0, np.array([*range(1, 100), np.nan]), 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((5.0, 5.0, 95.0))
    assert estimate(1.0, None, 0.9).low is None
