"""The likelihood of all held-out text, each token once: streams by a sliding window, or in one pass
if the run carries its state; records one by one. Sums are kept by document, so that intervals can
be computed.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.contracts import Scores
from lm_lab.data.loader import Split, eval_set
from lm_lab.engine.chunked import loss_of, outputs
from lm_lab.evaluation import likelihood
from lm_lab.evaluation.scoring import WHOLE
from lm_lab.evaluation.text_model import token_scores, whole_program
from lm_lab.evaluation.text_run import TextRun, require
from lm_lab.train.task import Task
from lm_lab.types import Batch, Examples, PyTree, Sums

NAME = "heldout_whole"
FEWEST = 10  # documents, at least, for an interval; fewer are cut into stretches of text
STRETCHES = 100

HeldoutLikelihood = Callable[[PyTree], Scores]


def heldout_likelihoods(task: Task, run: TextRun) -> dict[str, HeldoutLikelihood]:
    """By name, functions of parameters that give the likelihood of all held-out text:
    heldout_whole, and for each source of a mixture heldout_whole/LABEL. One program serves all,
    compiled at the first batch.

    Raises UserError for an objective that gives no likelihood of a stream.
    """
    sources = {
        f"{NAME}/{label}" if label else NAME: sides.heldout
        for label, sides in task.dataset.sources.items()
    }
    if task.objective_kind.consumes != "stream":
        by_row = _by_row(task)
        return {
            name: partial(_of_records, task, run, by_row, split) for name, split in sources.items()
        }
    require(run, ["texts"], "config.evaluation.whole")
    program = whole_program(run)
    return {name: partial(_of_stream, run, program, split) for name, split in sources.items()}


def _of_stream(run: TextRun, program: Any, split: Split, params: PyTree) -> Scores:
    """Sums by document. Documents follow one another as in training; isolated documents see
    themselves alone.
    """
    tokens, ends = split.tokens, split.end_of_document
    stops = np.flatnonzero(np.asarray(tokens) == ends) + 1
    if not len(stops) or stops[-1] != len(tokens):
        stops = np.append(stops, len(tokens))
    alone = split.isolate_documents or run.kind.pseudo_likelihood
    texts = _cut(tokens, stops) if alone else iter([tokens])
    scores = token_scores(run, program, params, texts, len(tokens))
    nats = np.concatenate([score.nats for score in scores])
    bytes_of_tokens = split.bytes_of[np.asarray(tokens)].astype(np.float64)
    few = len(stops) < FEWEST
    if few:
        stops = _stretches(bytes_of_tokens)
    begins = np.concatenate([[0], stops[:-1]])
    statistics = {
        "nll": -np.add.reduceat(nats.astype(np.float64), begins),
        "weight": np.diff(stops, prepend=0).astype(np.float64),
        "bytes": np.add.reduceat(bytes_of_tokens, begins),
    }
    metrics = partial(rates, "pseudo_" if run.kind.pseudo_likelihood else "")
    return Scores(statistics, metrics, "stretches of text" if few else "documents")


def _stretches(bytes_of_tokens: np.ndarray) -> np.ndarray:
    """Where stretches of the text end, in tokens: after equal parts of its bytes, so that those of
    another tokenizer are of the same text, and can be paired.
    """
    ends = np.cumsum(bytes_of_tokens)
    parts = np.linspace(0, ends[-1], STRETCHES + 1)[1:-1]
    return np.unique(np.append(np.searchsorted(ends, parts) + 1, len(ends)))


def _cut(tokens: np.ndarray, stops: np.ndarray) -> Iterator[np.ndarray]:
    first = 0
    for stop in stops:
        yield tokens[first:stop]
        first = stop


def _of_records(
    task: Task, run: TextRun, by_row: Callable[..., Sums], split: Split, params: PyTree
) -> Scores:
    """Sums of each pair or labelled text, by the objective that was trained."""
    examples = eval_set(task.batches(split, 0), 0)
    batches = [jax.tree.map(lambda x, i=i: x[i], examples) for i in range(len(examples.tokens))]
    by_batch = []
    with run.progress("Scoring records", len(batches), "batches") as progress:
        for batch in batches:
            by_batch.append(jax.device_get(by_row(params, batch)))
            progress.add(1)
    sums: dict[str, np.ndarray] = {
        name: np.concatenate([np.asarray(each[name], np.float64) for each in by_batch])
        for name in by_batch[0]
    }
    there = sums["weight"] > 0
    return Scores({name: values[there] for name, values in sums.items()}, partial(rates, ""))


def _by_row(task: Task) -> Callable[[PyTree, Examples], Sums]:
    """(parameters, examples [B ...]) -> the objective's sums [B] of each row."""
    compute, chunk = task.experiment.precision.compute, task.experiment.train.loss_chunk

    def sums(params: PyTree, examples: Examples) -> Sums:
        variables = WHOLE.variables(params, (), compute)
        loss = loss_of(task.model, task.objective, dict, variables, chunk)

        def of_row(output: Array, row: Batch) -> Sums:
            return loss(output[None], jax.tree.map(lambda x: x[None], row))

        batch = task.objective.prepare(jax.random.key(0), examples)
        output = task.model.apply(variables, batch.inputs, **outputs(chunk))
        return jax.vmap(of_row)(jnp.asarray(output), batch)

    return jax.jit(sums)


def rates(prefix: str, statistics: Mapping[str, np.ndarray]) -> dict[str, float]:
    """nll in nats a target and bits_per_byte, with a prefix; for labels also accuracy."""
    metrics = likelihood.rates({name: values.sum() for name, values in statistics.items()})
    return {f"{prefix}{name}": value for name, value in metrics.items()}
