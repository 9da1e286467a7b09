"""Intervals of metrics by the bootstrap over documents (Efron 1979), of one model or of two that
scored the same documents.

Documents are resampled with replacement, the same ones for both models of a pair (Koehn 2004,
W04-3250), so that a difference may be significant even where the two single intervals overlap.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from lm_lab.contracts import Scores
from lm_lab.types import UserError

RESAMPLES, LEVEL = 1000, 0.95


class Estimate(NamedTuple):
    """A value with its interval."""

    value: float
    low: float
    high: float


def intervals(
    scores: Scores, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Estimate]:
    """The metrics of the scores with percentile intervals. A single document gives no interval:
    NaN.
    """
    resampled = [scores.metrics(drawn) for drawn in _draws(scores.statistics, seed, resamples)]
    return {
        name: _estimate(value, [metrics[name] for metrics in resampled], level)
        for name, value in scores.values.items()
    }


def differences(
    one: Scores,
    other: Scores,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """`one` minus `other` in the metrics that both have, with paired percentile intervals.

    Raises UserError where their numbers of documents differ.
    """
    counts = documents(one.statistics), documents(other.statistics)
    if counts[0] != counts[1]:
        raise UserError(
            f"the two runs scored {counts[0]} and {counts[1]} {one.of}, and only the same ones "
            "can be compared; give both the same texts"
        )
    values, others = one.values, other.values
    names = [name for name in values if name in others]
    pairs = zip(_draws(one.statistics, seed, resamples), _draws(other.statistics, seed, resamples))
    drawn = [(one.metrics(left), other.metrics(right)) for left, right in pairs]
    return {
        name: _estimate(
            values[name] - others[name], [left[name] - right[name] for left, right in drawn], level
        )
        for name in names
    }


def documents(statistics: Mapping[str, np.ndarray]) -> int:
    """How many documents the statistics are of."""
    return len(next(iter(statistics.values())))


def _draws(
    statistics: Mapping[str, np.ndarray], seed: int, resamples: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the statistics of resampled documents, as many as there are, drawn with replacement;
    equal seeds give equal samples.
    """
    count, generator = documents(statistics), np.random.default_rng(seed)
    for _ in range(resamples if count > 1 else 0):
        chosen_documents = generator.integers(0, count, count)
        yield {name: values[chosen_documents] for name, values in statistics.items()}


def _estimate(value: float, drawn: list[float], level: float) -> Estimate:
    if not drawn:
        return Estimate(value, np.nan, np.nan)
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))
