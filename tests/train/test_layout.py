"""Which members of a population follow one another, and which are computed side by side."""

import pytest

from lm_lab.train.layout import FULL_FLOPS, in_turn


@pytest.mark.parametrize(
    "members, flops, backend, devices, expected",
    [
        (1, 1.0, "gpu", 1, True),
        (8, 1.0, "gpu", 1, False),  # small products leave a GPU idle
        (8, FULL_FLOPS, "gpu", 1, True),  # one fills it
        (8, FULL_FLOPS, "gpu", 4, False),  # members are spread over the devices of a mesh
        (8, 1.0, "cpu", 1, True),
        (8, 1.0, "cpu", 2, False),
    ],
)
def test_members_follow_one_another_where_one_fills_the_device(
    members, flops, backend, devices, expected
):
    assert in_turn(members, flops, backend, devices) is expected
