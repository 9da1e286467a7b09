"""The collapse of training curves, on curves that are one, and on curves that are not."""

import numpy as np
import pytest

from lm_lab.scaling.collapse import Collapse, Curve, collapse
from lm_lab.scaling.records import Refusal

E, NOISE = 0.7, 0.01


def ladder(slope=lambda rung: 0.3, seeds=3, noise=NOISE):
    """Curves of L = E + c_p (x^-slope + 1) for three rungs of growing compute; a seed's reducible
    loss differs by a factor of its own.
    """
    random, made = np.random.default_rng(0), []
    for rung in range(3):
        for _ in range(seeds):
            x = np.linspace(0.004, 1, 250)
            reducible = 1.5 * 0.6**rung * (x ** -slope(rung) + 1)
            loss = E + reducible * np.exp(noise * random.normal())
            made.append(Curve(f"1e{10 + rung}", x * 10.0 ** (10 + rung), loss))
    return made


def found(curves, **settings):
    result = collapse(curves, **settings)
    assert isinstance(result, Collapse)
    return result


def test_curves_of_one_shape_collapse_below_the_noise_of_seeds():
    result = found(ladder())
    # a factor of a whole curve drops out of the normalised one, but for what E misses
    assert result.irreducible == pytest.approx(E, abs=0.02)
    assert result.residual < 0.1 * NOISE
    # 6 degrees of freedom: within a factor of two of what was planted
    assert NOISE / 2 < result.floor < 2 * NOISE
    assert result.collapsed


def test_the_curve_is_that_which_was_planted():
    result = found(ladder(noise=0.0), irreducible=E)
    x = np.array(result.x)
    # bins of the mean of a convex curve lie above it by less than x_width^2 / 24 f''
    np.testing.assert_allclose(result.curves[0][2:], ((x**-0.3 + 1) / 2)[2:], rtol=0.01)
    assert result.residual < 1e-9
    assert all(curve[-1] == 1 for curve in result.curves)


@pytest.mark.parametrize("values, apart", [(13, 0.005), (20, 1e-9), (37, 1e-4)])
def test_how_often_a_run_was_logged_does_not_move_its_curve(values, apart):
    def logged(rung, count, scale):
        """E + scale (x^-.3 + 1), each value the mean since the one before."""
        x = np.linspace(0, 1, count + 1)
        mean = np.diff(x**0.7) / 0.7 * count
        return Curve(rung, x[1:] * 10.0**12, E + scale * (mean + 1))

    often = [logged("1e11", 500, 1.5), logged("1e12", values, 0.9)]
    # 13 values leave 2 or 1 of them in a twentieth of a run, where the loss falls by a tenth
    assert found(often, irreducible=E).residual < apart


def test_rungs_that_learn_at_unlike_paces_do_not_collapse():
    result = found(ladder(slope=lambda rung: 0.2 + 0.15 * rung))
    assert result.residual > 3 * result.floor
    assert result.collapsed is False


def test_one_seed_has_no_noise_to_compare_with():
    result = found(ladder(seeds=1))
    assert (result.floor, result.noise, result.collapsed) == (None, None, None)


@pytest.mark.parametrize(
    "curves, settings, kind",
    [
        (ladder()[:3], {}, "too few budgets"),
        ([Curve(curve.rung, curve.flops[:9], curve.loss[:9]) for curve in ladder()], {}, "too few"),
        ([Curve(curve.rung, curve.flops[60:], curve.loss[60:]) for curve in ladder()], {}, "too f"),
        (ladder(), {"irreducible": 9.0}, "no optimum"),
    ],
)
def test_what_cannot_be_compared_is_refused(curves, settings, kind):
    refusal = collapse(curves, **settings)
    assert isinstance(refusal, Refusal)
    assert refusal.kind.startswith(kind)
