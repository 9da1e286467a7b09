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
    """The value with the interval in which one more resampled value would lie with chance `level`.

    NaN in the resampled values [R] marks a refused resample, which does not count; without any
    value there is no interval.
    """
    if resampled is None or np.isnan(resampled).all():
        return Estimate(float(value))
    drawn = resampled[~np.isnan(resampled)]
    low, high = np.percentile(drawn, percents(level, len(drawn)))
    return Estimate(float(value), float(low), float(high))


def percents(level: float, draws: int) -> tuple[float, float]:
    """The percentiles, as NumPy counts them, between which one more draw lies with chance `level`.

    NumPy's 0th percentile is the lowest of R draws, below which one of R + 1 lies: its 5th and 95th
    percentiles of 100 draws hold one more draw in 88 %, not in 90 %.
    """
    tail = ((1 - level) / 2 * (draws + 1) - 1) / max(draws - 1, 1)
    tail = 100 * max(tail, 0.0)
    return tail, 100 - tail


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
