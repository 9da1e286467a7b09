"""Classification of whole texts: one of some classes, from a pooled vector."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jax import Array

from lm_lab.nn.heads import Pooling
from lm_lab.objectives import _records
from lm_lab.objectives._sums import likelihood, side_by_side
from lm_lab.schema import setting
from lm_lab.types import Batch, Objective, Sums, UserError, Vocabulary

SEES = None
CONTEXT = None  # the text itself, where the model reads one
READS = "labelled"

complete, window = _records.complete, side_by_side


@dataclass(frozen=True)
class Config:
    """The classes, and what stands for a text."""

    classes: int = setting("how many; labels are 0 .. classes - 1", 2, low=2)
    pooling: Pooling | None = setting(
        "None: the last token where a model sees the past alone, else the mean", None
    )
    as_context: bool | None = setting(
        "whether an encoder reads the text too; None: where the model has one", None
    )


def head(config: Config) -> tuple[int, Pooling]:
    """(numbers a text, what they are read from) of the head on the model."""
    assert config.pooling is not None, "resolve the config first"
    return config.classes, config.pooling


def check_labels(config: Config, labels: np.ndarray) -> None:
    """Raises UserError for labels f32[n] that are no classes."""
    wrong = labels[(labels < 0) | (labels >= config.classes) | (labels % 1 != 0)]
    if len(wrong):
        raise UserError(
            f"config.objective.classes: {len(wrong)} labels are none of 0 .. "
            f"{config.classes - 1}, as {wrong[0]:g}; "
            "raise it, or mend the labels"
        )


def make(config: Config, length: int, vocabulary: Vocabulary) -> Objective:
    """The objective: log likelihood of the class; "correct" counts the texts whose class was the
    likeliest.
    """
    del length, vocabulary
    return Objective(partial(_records.prepare, np.int32, bool(config.as_context)), _loss)


def _loss(logits_B1C: Array, batch: Batch) -> Sums:
    sums: dict[str, Any] = dict(likelihood(logits_B1C, batch))
    del sums["bytes"]
    hits_B1 = logits_B1C.argmax(-1) == batch.targets
    return {**sums, "correct": (hits_B1 * batch.weights).sum()}
