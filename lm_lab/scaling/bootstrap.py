"""The bootstrap: resamples of the points, and percentile intervals of their results."""

import numpy as np

from lm_lab.scaling.records import Band, Estimate

Array = np.ndarray


def resample(strata: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Indices i64[resamples n] of points drawn with replacement within each stratum.

    `strata` [n] holds each point's label. Strata of fewer than three points are pooled: a point
    alone in its stratum would be in every resample, and the interval would not contain its noise.
    """
    labels, place, counts = np.unique(strata, return_inverse=True, return_counts=True)
    place = np.where(counts[place] < 3, len(labels), place)
    index = np.empty((resamples, len(strata)), np.int64)
    for stratum in np.unique(place):
        members = np.flatnonzero(place == stratum)
        index[:, members] = members[rng.integers(len(members), size=(resamples, len(members)))]
    return index


def estimate(value: float, resampled: Array | None, level: float) -> Estimate:
    """The value with the percentile interval of its resampled values [R].

    NaN marks a refused resample, which is left out; if all are refused there is no interval.
    """
    if resampled is None or np.isnan(resampled).all():
        return Estimate(float(value))
    low, high = np.nanpercentile(resampled, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(float(value), float(low), float(high))


def band(flops: Array, value: Array, resampled: Array | None, level: float) -> Band:
    """A curve [G] with the pointwise interval of its resampled curves [R G]."""
    columns = [None] * len(flops) if resampled is None else list(resampled.T)
    points = [estimate(height, column, level) for height, column in zip(value, columns)]
    return Band(
        tuple(map(float, flops)),
        tuple(point.value for point in points),
        tuple(point.low for point in points),
        tuple(point.high for point in points),
    )
