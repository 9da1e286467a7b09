import math

import pytest

from lm_lab.compute.ladder import centre, widths_near
from lm_lab.types import UserError


def test_centre_is_a_power_law_through_its_anchor():
    assert centre(1e11) == 1.2e4
    assert centre(1e12) == pytest.approx(1.2e4 * 10**0.55)
    assert centre(4.0, at=1.0, size=3.0, exponent=0.5) == 6.0


def matmul_parameters(width):
    return 24 * width**2 + 256 * width


RATIOS = (1 / 4, 1 / 2, 1, 2, 4)


@pytest.mark.parametrize("target", [1.2e4, 1e6, 3e9])
@pytest.mark.parametrize("multiple", [1, 4, 64])
def test_no_other_multiple_is_nearer(target, multiple):
    def miss(width, goal):
        return abs(math.log(matmul_parameters(width) / goal))

    widths = widths_near(target, RATIOS, matmul_parameters, multiple)
    assert widths == sorted(set(widths))
    assert all(width % multiple == 0 and width > 0 for width in widths)
    for goal in (target * ratio for ratio in RATIOS):
        nearest = min(widths, key=lambda width: miss(width, goal))
        neighbours = [width for width in (nearest - multiple, nearest + multiple) if width > 0]
        assert all(miss(nearest, goal) <= miss(width, goal) for width in neighbours)


def test_sizes_bracket_the_target():
    widths = widths_near(1e6, RATIOS, matmul_parameters, 4)
    assert len(widths) == len(RATIOS)
    assert [matmul_parameters(width) / 1e6 for width in widths] == pytest.approx(RATIOS, rel=0.1)


def test_sizes_that_meet_on_one_width_are_one():
    assert widths_near(1.0, RATIOS, matmul_parameters, 16) == [16]


def test_a_count_that_does_not_grow_is_refused():
    with pytest.raises(UserError, match="does not grow"):
        widths_near(1e6, (1,), lambda width: 5, 4)
