"""The likelihood of any text under the model of a trained run, each token scored once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from lm_lab.evaluation.text_model import text_models
from lm_lab.evaluation.text_run import require
from lm_lab.train import restore
from lm_lab.train.evaluation_tasks import text_run
from lm_lab.train.task import Task


class TextScore(NamedTuple):
    """The negative log likelihood of a text."""

    nats: float  # summed over its tokens
    tokens: int
    bytes: int  # UTF-8 bytes of the text

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of the text."""
        return self.nats / math.log(2) / self.bytes


class TextScorer(NamedTuple):
    """The function that scores texts by one model; it compiles at the first text."""

    score: Callable[[str], TextScore]
    kind: str  # "" for a likelihood, "pseudo-" for a pseudo-likelihood
    context: str  # a sentence on what each token is conditioned on


def open_scorer(directory: Path, task: Task, average: bool = False) -> TextScorer:
    """Scores texts by the newest checkpoint of a run; with `average` by the moving average of its
    parameters.

    The run's data are not read, and nothing is written. Raises UserError where its objective gives
    no likelihood of a whole text, or it kept no average.
    """
    run = text_run(task, directory)
    require(run, ["texts"], f"config.objective.name {task.experiment.objective.name!r}")
    model = text_models(run)(jax.device_put(restore.load_params(directory, average)[2]))

    def score(text: str) -> TextScore:
        (likelihood,) = model.texts([text])
        return TextScore(-likelihood.nats, likelihood.tokens, len(text.encode()))

    if run.kind.pseudo_likelihood:
        return TextScorer(
            score,
            "pseudo-",
            f"Each token was given all others of its window of {run.window}: no likelihood of the "
            "text (1910.14659).",
        )
    if run.reads_on:
        return TextScorer(
            score, "", "Each token was given all of the text before it, by the state."
        )
    given = f"the {run.given} to {run.window - 1} before it, as far as the text reaches."
    return TextScorer(score, "", f"Each token was given {given}")
