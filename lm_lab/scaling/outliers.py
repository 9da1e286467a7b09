"""Outliers: by the valley of their budget, and by the surface.

Each rule judges a point by a fit without it, and allows for the number of points that are judged:
of clean Gaussian tables, about one in forty has a point that a rule names (SHARE). Approach 2 drops
a point only by the rule of its own valley, so that it stays an independent check on approach 3.
"""

import numpy as np
from scipy import stats

from lm_lab.scaling.points import Points
from lm_lab.scaling.surface import SurfaceFit
from lm_lab.scaling.valleys import studentised

Array = np.ndarray
SHARE = 0.025
LARGEST_SHARE = 0.15  # of the points: if more are outliers, the fit is at fault


def valley_outliers(points: Points) -> Array:
    """Mask [n] of the points that their own valleys reject, the worst first, one at a time.

    The residual of a point is studentised with it left out, its noise pooled over all budgets; the
    limit is that of Student's t at SHARE / n. A valley keeps four sizes.
    """
    is_outlier = np.zeros(len(points), bool)
    for _ in range(int(LARGEST_SHARE * len(points))):
        inliers = np.flatnonzero(~is_outlier)
        size, freedom = studentised(points.where(inliers))
        if freedom < 2:
            break
        budget = points.budget[inliers]
        size[np.array([np.sum(budget == own_budget) < 5 for own_budget in budget], bool)] = 0.0
        if size.max(initial=0.0) <= stats.t.isf(SHARE / 2 / len(points), freedom - 1):
            break
        is_outlier[inliers[np.argmax(size)]] = True
    return is_outlier


def surface_outliers(fit: SurfaceFit) -> Array:
    """Mask [n] of the points far off the surface, by a scale that no outlier moves.

    A near-L1 fit of five parameters passes through about five points, whose residuals of 0 say
    nothing about the noise: the scale is the median |residual| of the others. The limit is that of
    Student's t at SHARE / n, with a third of the degrees of freedom: a median tells about a third
    as much of the noise as a mean square.
    """
    size = np.abs(fit.residuals) * np.sqrt(fit.weight)
    spare = len(size) - 5
    scale = np.median(np.sort(size)[5:]) / 0.6745 if spare else 0.0
    limit = stats.t.isf(SHARE / 2 / len(size), max(spare / 3, 1.0))
    return size > limit * max(float(scale), 1e-6)
