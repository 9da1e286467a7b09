"""Regression of whole texts: a value, from a pooled vector, by least squares."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jax import Array

from lm_lab.contracts import MetricChoice, Objective
from lm_lab.objectives import _records
from lm_lab.types import Batch, ObjectiveFunctions, Sums, Vocabulary


@dataclass(frozen=True)
class Config(_records.PooledConfig):
    """How features are pooled."""


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective: "nll" is that of a Gaussian of variance 1, less its constant: half the squared
    error.
    """
    del length, vocabulary
    return ObjectiveFunctions(partial(_records.prepare, np.float32, bool(config.as_context)), _loss)


def _loss(values_BP1: Array, batch: Batch) -> Sums:
    squares_BP = (values_BP1[..., 0] - batch.targets) ** 2 * batch.weights
    return {
        "nll": squares_BP.sum() / 2,
        "squared_error": squares_BP.sum(),
        "weight": batch.weights.sum(),
    }


OBJECTIVE = Objective(
    Config,
    make,
    scope=None,
    consumes="labelled",
    needs_context=None,
    metrics=lambda config: (MetricChoice("correlation"),),
    complete=_records.complete,
    head=_records.head,
)
