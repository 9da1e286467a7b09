"""Correlation of a model's values with the labels of texts."""

from dataclasses import dataclass

import jax
import numpy as np
from scipy import stats

from lm_lab.contracts import EvaluationData, Metric, MetricFunction
from lm_lab.types import Inputs, PyTree

ROWS = 128  # of a batch


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def prepare(config: Config, data: EvaluationData) -> MetricFunction:
    """The coefficients of the values that a model gives the held-out texts, and of their labels."""
    del config
    examples = data.heldout(ROWS, 0)
    assert examples.segments is not None
    assert examples.labels is not None
    is_text = np.asarray(examples.segments).any(-1).ravel()
    labels = np.asarray(examples.labels).ravel()[is_text]

    @jax.jit
    def apply(params: PyTree, inputs: Inputs) -> jax.Array:
        return data.model.apply({"params": params}, inputs)[:, 0, 0]

    def measure(params: PyTree) -> dict[str, float]:
        batches = zip(examples.tokens, examples.segments)  # type: ignore[arg-type]
        values = [np.asarray(apply(params, Inputs(*batch))) for batch in batches]
        return correlations(np.concatenate(values)[is_text], labels)

    return measure


def correlations(values: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Spearman's and Pearson's coefficients of values and labels [n]; 0 if one is constant."""
    if np.ptp(values) == 0 or np.ptp(labels) == 0:
        return {"spearman": 0.0, "pearson": 0.0}
    tests = {"spearman": stats.spearmanr(values, labels), "pearson": stats.pearsonr(values, labels)}
    return {name: float(result.statistic) for name, result in tests.items()}


METRIC = Metric(Config, prepare)
