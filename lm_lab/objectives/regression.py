"""Regression of whole texts: a value, from a pooled vector, by least squares."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jax import Array

from lm_lab.contracts import MetricChoice, Objective, PooledHead
from lm_lab.objectives import _records
from lm_lab.schema import setting
from lm_lab.types import Batch, ObjectiveFunctions, Pooling, Sums, Vocabulary


@dataclass(frozen=True)
class Config:
    """How features are pooled."""

    pooling: Pooling | None = setting(
        "None: the last token where a model sees the past alone, else the mean", None
    )
    as_context: bool | None = setting(
        "whether an encoder reads the text too; None: where the model has one", None
    )


def head(config: Config) -> PooledHead:
    """The head on the model."""
    assert config.pooling is not None, "resolve the config first"
    return PooledHead(1, config.pooling)


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
    head=head,
)
