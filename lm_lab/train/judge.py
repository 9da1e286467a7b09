"""Any text under the model of a trained run: what it costs, token by token, each of them once."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lm_lab.evaluation import texts
from lm_lab.evaluation.likelihood import likelihood
from lm_lab.evaluation.metrics.pseudo_likelihood import pseudo_likelihood
from lm_lab.train import restore
from lm_lab.train.task import Task
from lm_lab.types import Batch, Examples, ObjectiveFunctions, UserError


class Cost(NamedTuple):
    """What a text costs."""

    nats: float  # of all its tokens
    tokens: int
    bytes: int  # of the text in UTF-8

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of the text."""
        return self.nats / math.log(2) / self.bytes


class Judge(NamedTuple):
    """How texts are judged by one model; the program is compiled at the first."""

    of: Callable[[str], Cost]
    kind: str  # "" for a likelihood, "pseudo-" for what is none
    context: str  # what each token was given, as a sentence


def open_judge(directory: Path, task: Task) -> Judge:
    """The judge of texts by the newest checkpoint of a run; its data are not read, and nothing is
    written.

    Raises UserError where its objective says nothing of a whole text.
    """
    make, tokenizer = _maker(task), task.tokenizer
    _, _, params = restore.load_params(directory)
    evaluate, cut, kind, context = make(task)
    table = tokenizer.bytes_of.astype(np.float32)
    jit_evaluate, params = jax.jit(evaluate), jax.device_put(params)

    def cost(text: str) -> Cost:
        tokens = np.asarray(tokenizer.encode(text))
        rows = cut(tokens, table, tokenizer.end_of_document)
        sums = texts.add_up(jit_evaluate, params, rows, task.experiment.train.batch_size)
        assert sums["weight"] == len(tokens)
        return Cost(sums["nll"], len(tokens), len(text.encode()))

    return Judge(cost, kind, context)


def _maker(task: Task) -> Callable[[Task], tuple]:
    """How the objective judges texts. Raises UserError where it does not."""
    contract = task.objective_kind
    if contract.text_likelihood is not None:
        return _by_likelihood
    if contract.pseudo_likelihood:
        return _by_pseudo_likelihood
    why = {
        "pairs": "learns targets given their sources",
        "labelled": "learns labels of texts",
        "stream": "restores or relates parts of a text",
    }[contract.consumes]
    raise UserError(
        f"config.objective.name {task.experiment.objective.name!r} {why}, and gives no likelihood "
        "of a whole text; name a run of causal, prefix, continuation or masked"
    )


def _by_likelihood(task: Task) -> tuple:
    """Windows overlap: what is given in one was judged in those before."""
    scoring = task.objective_kind.text_likelihood
    assert scoring is not None
    size, settings = task.window[0], task.experiment.objective.settings
    given = scoring.given(settings, task.experiment.data.length)

    def prepare(key: jax.Array, examples: Examples) -> Batch:
        del key
        return scoring.batch(settings, examples, given)

    objective = ObjectiveFunctions(prepare, task.objective.loss)
    evaluate = likelihood(task.model, objective, task.experiment.precision.compute)

    def cut(tokens: np.ndarray, table: np.ndarray, end: int) -> Examples:
        return texts.windows(tokens, table, end, size, given)

    return (
        evaluate,
        cut,
        "",
        f"Each token was given the {given} to {size - 1} before it, as far as the text reaches.",
    )


def _by_pseudo_likelihood(task: Task) -> tuple:
    """Windows lie side by side: a token is given all others of its own."""
    size = task.window[0]
    evaluate: Any = pseudo_likelihood(
        task.model, task.vocabulary, task.experiment.precision.compute
    )

    def cut(tokens: np.ndarray, table: np.ndarray, end: int) -> Examples:
        del end
        return texts.disjoint_windows(tokens, table, size)

    context = (
        f"Each token was given all others of its window of {size}: no likelihood of the "
        "text (1910.14659)."
    )
    return evaluate, cut, "pseudo-", context
