"""Classification of whole texts: one of some classes, from a pooled vector."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jax import Array

from lm_lab.contracts import Objective, PooledHead
from lm_lab.objectives import _records
from lm_lab.objectives._common import likelihood
from lm_lab.schema import setting
from lm_lab.types import Batch, ObjectiveFunctions, Sums, UserError, Vocabulary


@dataclass(frozen=True)
class Config(_records.PooledConfig):
    """The number of classes, and how features are pooled."""

    classes: int = setting("how many; labels are 0 .. classes - 1", 2, low=2)


def head(config: Config) -> PooledHead:
    """The head on the model."""
    return _records.head(config, config.classes)


def check_labels(config: Config, labels: np.ndarray) -> None:
    """Raises UserError for labels f32[n] that are not numbers of classes."""
    wrong = labels[(labels < 0) | (labels >= config.classes) | (labels % 1 != 0)]
    if len(wrong):
        raise UserError(
            f"config.objective.classes: {len(wrong)} labels are none of 0 .. "
            f"{config.classes - 1}, as {wrong[0]:g}; "
            "raise it, or mend the labels"
        )


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective: log likelihood of the class; "correct" counts the texts whose class was the
    likeliest.
    """
    del length, vocabulary
    return ObjectiveFunctions(partial(_records.prepare, np.int32, bool(config.as_context)), _loss)


def _loss(logits_BPC: Array, batch: Batch) -> Sums:
    sums: dict[str, Any] = dict(likelihood(logits_BPC, batch))
    del sums["bytes"]
    hits_BP = logits_BPC.argmax(-1) == batch.targets
    return {**sums, "correct": (hits_BP * batch.weights).sum()}


OBJECTIVE = Objective(
    Config,
    make,
    scope=None,
    consumes="labelled",
    needs_context=None,
    complete=_records.complete,
    head=head,
    check_labels=check_labels,
)
