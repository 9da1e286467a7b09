"""How the rows of a batch are cut into the microbatches of a pipeline."""

import numpy as np
import pytest

from lm_lab.nn.pipeline import Cut, rounds_of


def test_microbatches_are_cut_so_that_no_row_leaves_its_device():
    cut = Cut(rows=24, groups=2, stages=3, rounds=2)
    rows = np.arange(24)
    parts = np.asarray(cut.split(rows[:, None] * np.ones(5)))  # type: ignore[arg-type]
    assert parts.shape == (3, 2, 4, 5)
    # rows lie over two groups of devices, and within a group over the stages
    held = rows.reshape(2, 3, 4)
    for stage in range(3):
        assert sorted(parts[stage, :, :2, 0].ravel()) == list(held[0, stage])
        assert sorted(parts[stage, :, 2:, 0].ravel()) == list(held[1, stage])
    assert (np.asarray(cut.join(cut.split(rows))) == rows).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows, stages, asked, rounds",
    [
        (64, 2, None, 4),
        (12, 2, None, 3),
        (3, 2, None, None),
        (12, 2, 12, 6),
        (12, 2, 3, None),
        (12, 2, 8, None),
    ],
)
def test_a_stage_has_the_microbatches_that_rows_allow(rows, stages, asked, rounds):
    assert rounds_of(rows, stages, asked) == rounds
