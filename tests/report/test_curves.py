"""Training curves: averages keep the mean, the envelope compares equal decay alone and falls."""

import numpy as np
import pytest

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
    line = curves.Line("run", "all", "black")
    assert curves.figure([line], {"run": records}, "token") is None
    assert curves.binned([]).shape == (2, 0)


def test_the_envelope_is_the_lowest_with_no_more_compute():
    lines = [np.array([[1.0, 3.0, 5.0], [9.0, 7.0, 8.0]]), np.array([[2.0, 4.0], [8.0, 6.5]])]
    x, y = curves.envelope(lines)
    np.testing.assert_array_equal(x, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(y, [9, 8, 7, 6.5, 6.5])


@pytest.mark.parametrize(
    ("rates", "first"),
    [
        ([0.5, 1, 1, 1, 1], 1),  # constant after the warm-up: all of it
        ([0.1, 1, 0.7, 0.4, 0.1], 4),  # cosine: the end alone, and not the warm-up at its share
        ([0.5, 1, 1, 0.5, 0.0], 4),  # warm-up, stable, decay
        ([None, None, None, None, None], 4),  # not logged
    ],
)
def test_only_places_of_the_decay_of_the_end_are_compared(rates, first):
    records = [
        {"flops": step + 1.0, "train/nll": 9.0 - step} | ({"rate": r} if r is not None else {})
        for step, r in enumerate(rates)
    ]
    expected = [np.arange(first, 5) + 1.0, 9.0 - np.arange(first, 5)]
    np.testing.assert_array_equal(curves.comparable(records), expected)
