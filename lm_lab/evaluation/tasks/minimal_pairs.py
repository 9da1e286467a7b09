"""Minimal pairs, as in BLiMP (1912.00582): whether the good sentence is the more likely one.

A model that sees both sides of a token is scored by its pseudo-likelihood (1910.14659).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lm_lab.contracts import EvalTask, Scores, TextModel
from lm_lab.evaluation.tasks import _records
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """Where the pairs are, and what their fields are called."""

    path: str = setting("JSON lines, or a folder of such files")
    good: str = setting("field of the sentence that is right", "sentence_good")
    bad: str = setting("field of the one that is not", "sentence_bad")


def prepare(config: Config) -> Callable[[TextModel], Scores]:
    """Reads the pairs. Raises UserError."""
    records = _records.read(config.path)
    pairs = [(record.field(config.good, str), record.field(config.bad, str)) for record in records]
    return partial(_measure, pairs)


def _measure(pairs: list[tuple[str, str]], model: TextModel) -> Scores:
    """Scores each sentence as a continuation of an empty context, so that it is never cut."""
    likelihoods = model.continuations([("", sentence) for pair in pairs for sentence in pair])
    rows = [
        {"accuracy": float(good.nats > bad.nats), "margin": good.nats - bad.nats}
        for good, bad in zip(likelihoods[::2], likelihoods[1::2])
    ]
    return Scores(_records.columns(rows), _records.means)


TASK = EvalTask(Config, prepare, needs=("continuations",))
