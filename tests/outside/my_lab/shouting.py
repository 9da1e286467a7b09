"""A task: whether a model that is given words goes on in capitals."""

from dataclasses import dataclass

import numpy as np

from lm_lab.contracts import EvalTask, Scores
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """What is said to it."""

    words: tuple[str, ...] = setting("prompts", ("hey",))


def prepare(config):
    """Nothing to read."""

    def measure(model):
        written = model.write(config.words, 8, ())
        loud = np.array([text.isupper() for text in written])
        return Scores({"loud": loud}, lambda statistics: {"loud": float(statistics["loud"].mean())})

    return measure


TASK = EvalTask(Config, prepare, needs=("write",))
