"""Multiple choice: the answer with the highest likelihood after the question.

Metrics as in EleutherAI's lm_eval: acc compares log likelihoods of the answers, acc_norm these by
the characters of each answer, acc_bytes by its UTF-8 bytes; acc_tokens by its tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from lm_lab.contracts import EvalTask, Likelihood, Scores, TextModel
from lm_lab.evaluation.tasks import _records
from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Config:
    """Where the questions are, and what their fields are called."""

    path: str = setting("JSON lines, or a folder of such files")
    context: str = setting("field of the text before the answers", "context")
    choices: str = setting("field of the list of answers", "choices")
    answer: str = setting("field of the number of the right answer, from 0", "answer")
    delimiter: str = setting("what stands between context and answer", " ")


def prepare(config: Config) -> Callable[[TextModel], Scores]:
    """Reads the questions. Raises UserError for one without answers, or a number of none."""
    records = _records.read(config.path)
    questions = [record.field(config.context, str) for record in records]
    choices = [record.texts(config.choices) for record in records]
    answers = [record.field(config.answer, int) for record in records]
    for record, answer, listed in zip(records, answers, choices):
        if not 0 <= answer < len(listed):
            raise UserError(
                f"{record.where}: {config.answer!r} is {answer}, and {config.choices!r} has "
                f"{len(listed)}; mend it"
            )
    return partial(_measure, config.delimiter, questions, choices, answers)


def _measure(
    delimiter: str,
    questions: list[str],
    choices: list[list[str]],
    answers: list[int],
    model: TextModel,
) -> Scores:
    pairs = [
        (question, delimiter + choice)
        for question, options in zip(questions, choices)
        for choice in options
    ]
    likelihoods = iter(model.continuations(pairs))
    rows = [
        _scores(options, [next(likelihoods) for _ in options], answer)
        for options, answer in zip(choices, answers)
    ]
    return Scores(_records.columns(rows), _records.means)


def _scores(choices: list[str], likelihoods: list[Likelihood], answer: int) -> dict[str, float]:
    nats = np.array([likelihood.nats for likelihood in likelihoods])
    sizes = {
        "acc": np.ones(len(choices)),
        "acc_norm": np.array([len(choice) for choice in choices]),
        "acc_bytes": np.array([len(choice.encode()) for choice in choices]),
        "acc_tokens": np.array([max(likelihood.tokens, 1) for likelihood in likelihoods]),
    }
    return {name: float((nats / size).argmax() == answer) for name, size in sizes.items()}


TASK = EvalTask(Config, prepare, needs=("continuations",))
