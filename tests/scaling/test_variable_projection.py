from dataclasses import replace

import numpy as np
import pytest

from lm_lab.scaling.surface import fit_surface
from lm_lab.scaling.variable_projection import project


@pytest.mark.data
def test_the_planted_surface_is_recovered(read_points):
    truth = [np.log(1.8), np.log(450.0), 0.35, np.log(1800.0), 0.36]
    np.testing.assert_allclose(project(read_points("synth_v1.csv")), truth, atol=1e-5)


def test_it_agrees_with_approach_3_on_gentle_noise(isoflop):
    points = isoflop(noise=0.001)
    np.testing.assert_allclose(
        project(points)[[2, 4]], fit_surface(points, huber=np.inf).theta[[2, 4]], atol=0.01
    )


def test_a_term_that_the_data_do_not_want_is_nothing(isoflop):
    points = isoflop(law=(1e-9, 16.9, 0.35, 105.0, 0.36), noise=0.02, seed=3)
    assert np.isfinite(project(points)[[1, 3]]).all()


def test_a_point_of_three_seeds_weighs_as_three_points(isoflop):
    points = isoflop(noise=0.01, seed=4)
    runs = np.where(np.arange(len(points)) % 3, 1.0, 3.0)
    repeated = points.where(np.repeat(np.arange(len(points)), runs.astype(int)))
    np.testing.assert_allclose(project(replace(points, runs=runs)), project(repeated), rtol=1e-4)
