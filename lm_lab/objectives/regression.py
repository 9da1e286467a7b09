"""Regression of whole texts: a value, from a pooled vector, by least squares."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jax import Array

from lm_lab.nn.heads import Pooling
from lm_lab.objectives import _records
from lm_lab.objectives._sums import side_by_side
from lm_lab.schema import setting
from lm_lab.types import Batch, Objective, Sums, Vocabulary

SEES = None
CONTEXT = None  # the text itself, where the model reads one
READS = "labelled"
MEASURES = "correlation"

complete, window = _records.complete, side_by_side


@dataclass(frozen=True)
class Config:
    """What stands for a text."""

    pooling: Pooling | None = setting(
        "None: the last token where a model sees the past alone, else the mean", None
    )
    as_context: bool | None = setting(
        "whether an encoder reads the text too; None: where the model has one", None
    )


def head(config: Config) -> tuple[int, Pooling]:
    """(numbers a text, what they are read from) of the head on the model."""
    assert config.pooling is not None, "resolve the config first"
    return 1, config.pooling


def make(config: Config, length: int, vocabulary: Vocabulary) -> Objective:
    """The objective: "nll" is that of a Gaussian of variance 1, less its constant: half the squared
    error.
    """
    del length, vocabulary
    return Objective(partial(_records.prepare, np.float32, bool(config.as_context)), _loss)


def _loss(values_B11: Array, batch: Batch) -> Sums:
    squares_B1 = (values_B11[..., 0] - batch.targets) ** 2 * batch.weights
    return {
        "nll": squares_B1.sum() / 2,
        "squared_error": squares_B1.sum(),
        "weight": batch.weights.sum(),
    }
