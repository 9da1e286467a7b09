"""Bootstrap draws: which points each draw takes, and the percentile intervals of what it yields."""

import numpy as np

from lm_lab.scaling.records import Band, Estimate

Array = np.ndarray


def resample(strata: Array, draws: int, rng: np.random.Generator) -> Array:
    """Indices i64[draws n] of points drawn with replacement within each stratum (its label in
    `strata` [n]).

    Strata of fewer than three points are pooled: a point alone in its stratum would be in every
    draw, and the interval would not know of its noise.
    """
    labels, place, counts = np.unique(strata, return_inverse=True, return_counts=True)
    place = np.where(counts[place] < 3, len(labels), place)
    index = np.empty((draws, len(strata)), np.int64)
    for stratum in np.unique(place):
        members = np.flatnonzero(place == stratum)
        index[:, members] = members[rng.integers(len(members), size=(draws, len(members)))]
    return index


def estimate(value: float, draws: Array | None, level: float) -> Estimate:
    """The value with the percentile interval of its draws [R]; draws that are nan were refused and
    do not count.
    """
    if draws is None or np.isnan(draws).all():
        return Estimate(float(value))
    low, high = np.nanpercentile(draws, _percentiles(level))
    return Estimate(float(value), float(low), float(high))


def band(flops: Array, value: Array, draws: Array | None, level: float) -> Band:
    """A curve [G] with the pointwise interval of its draws [R G]."""
    columns = [None] * len(flops) if draws is None else list(draws.T)
    points = [estimate(v, column, level) for v, column in zip(value, columns)]
    return Band(
        tuple(map(float, flops)),
        tuple(p.value for p in points),
        tuple(p.low for p in points),
        tuple(p.high for p in points),
    )


def _percentiles(level: float) -> tuple[float, float]:
    return 50 * (1 - level), 50 * (1 + level)
