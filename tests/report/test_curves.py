"""Training curves: averages keep the mean, the envelope lies under every line and falls."""

import numpy as np

from lm_lab.report import curves


def _records(count: int, noise: float = 0.0) -> list[dict[str, float]]:
    random = np.random.default_rng(0)
    flops = np.geomspace(1e9, 1e11, count)
    return [
        {"flops": x, "train/nll": 3 * (x / 1e9) ** -0.1 + noise * random.standard_normal()}
        for x in flops
    ]


def test_many_records_become_few_means():
    line = curves.binned(_records(5000, noise=0.2))
    assert line.shape == (2, 60)
    np.testing.assert_allclose(line[1], 3 * (line[0] / 1e9) ** -0.1, atol=0.1)


def test_records_without_a_finite_loss_are_passed_over():
    records = [
        {"flops": 1e9},
        {"flops": 2e9, "train/nll": float("nan")},
        {"flops": 3e9, "train/nll": 1.0},
    ]
    np.testing.assert_array_equal(curves.binned(records), [[3e9], [1.0]])
    assert not curves.drawable({"run": records})
    assert curves.binned([]).shape == (2, 0)


def test_the_envelope_is_below_every_line_and_never_rises():
    lines = [curves.binned(_records(20)), curves.binned(_records(30)) * [[4.0], [0.9]]]
    grid, height = curves.envelope(lines)
    assert (np.diff(height) <= 0).all()
    for x, y in lines:
        inside = (grid >= x[0]) & (grid <= x[-1])
        assert (height[inside] <= np.interp(np.log(grid[inside]), np.log(x), y) + 1e-9).all()
