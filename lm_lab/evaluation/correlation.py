"""Correlation of a model's values with the labels of texts."""

from typing import Any

import jax
import numpy as np
from scipy import stats

from lm_lab.types import Examples, Inputs, PyTree


class Values:
    """The values of a model's outputs, by a program compiled at the first call."""

    def __init__(self, model: Any) -> None:
        """Compiles nothing yet."""
        self._apply = jax.jit(
            lambda params, inputs: model.apply({"params": params}, inputs)[:, 0, 0]
        )

    def of(self, params: PyTree, exam: Examples) -> tuple[np.ndarray, np.ndarray]:
        """(values, labels) f32[n] of every text in the examples [n B ...] that is not padding."""
        assert exam.segments is not None
        assert exam.labels is not None
        batches = zip(exam.tokens, exam.segments)
        values = [
            np.asarray(self._apply(params, Inputs(tokens, segments)))
            for tokens, segments in batches
        ]
        there = np.asarray(exam.segments).any(-1).ravel()
        return np.concatenate(values)[there], np.asarray(exam.labels).ravel()[there]


def correlations(values: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Spearman's and Pearson's coefficients of values and labels [n]; 0 if one is constant."""
    if np.ptp(values) == 0 or np.ptp(labels) == 0:
        return {"spearman": 0.0, "pearson": 0.0}
    found = {"spearman": stats.spearmanr(values, labels), "pearson": stats.pearsonr(values, labels)}
    return {name: float(result.statistic) for name, result in found.items()}
