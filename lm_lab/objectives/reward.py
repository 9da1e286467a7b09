"""A reward model (2203.02155): of two answers to a prompt, the one that people chose has the higher
score.

The score is a number that a head reads from the text's features. By Bradley and Terry the chosen
answer wins with probability sigmoid(its score - the other's), and "nll" is that of the choice. The
two answers stand side by side in a row, as segments that do not see each other.
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax import Array

from lm_lab.contracts import Objective
from lm_lab.objectives import _records
from lm_lab.types import ANSWERS, Batch, Examples, ObjectiveFunctions, Sums, Vocabulary


@dataclass(frozen=True)
class Config(_records.PooledConfig):
    """How features are pooled."""


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective: "weight" counts preferences, "correct" those whose chosen answer has the
    higher score.
    """
    del length, vocabulary
    return ObjectiveFunctions(partial(_prepare, bool(config.as_context)), _loss)


def _prepare(as_context: bool, key: Array, examples: Examples) -> Batch:
    """Targets [B P] are 1 for a chosen answer and 0 for a rejected one; only the former, which
    stand for their preference, have weight.
    """
    batch = _records.prepare(np.float32, as_context, key, examples)
    return batch._replace(weights=batch.weights * batch.targets)


def _loss(scores_BP1: Array, batch: Batch) -> Sums:
    rows = len(scores_BP1)
    # of K preferences in a row
    weights_BK = batch.weights.reshape(rows, -1, ANSWERS)[..., 0]
    scores_BKA = scores_BP1.reshape(rows, -1, ANSWERS)
    lead_BK = scores_BKA[..., 0] - scores_BKA[..., 1]
    return {
        "nll": (jax.nn.softplus(-lead_BK) * weights_BK).sum(),
        "weight": weights_BK.sum(),
        "correct": ((lead_BK > 0) * weights_BK).sum(),
    }


OBJECTIVE = Objective(
    Config,
    make,
    scope=None,
    consumes="preferences",
    needs_context=None,
    complete=_records.complete,
    head=_records.head,
)
