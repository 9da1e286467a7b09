"""The noise of a run, estimated from the seeds of cells."""

import numpy as np

from lm_lab.scaling.points import Points


def seed_squares(points: Points) -> tuple[float, int]:
    """(the sum of squares about the cells' means, relative to the lowest loss, its degrees of
    freedom).

    Cells of one seed add nothing.
    """
    several = np.isfinite(points.loss_sd) & (points.runs > 1)
    freedom = points.runs[several] - 1
    squares = freedom * (points.loss_sd[several] / points.loss.min()) ** 2
    return float(squares.sum()), int(freedom.sum())
