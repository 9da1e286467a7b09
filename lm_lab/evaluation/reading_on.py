"""The scores of whole texts by a model that carries its state from window to window: each token is
scored once, given all of its text before it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import jax
import numpy as np
from jax import Array

from lm_lab.evaluation import scoring
from lm_lab.evaluation.rows import BATCHES, Program, Score
from lm_lab.evaluation.text_run import TextRun
from lm_lab.objectives._common import token_nll
from lm_lab.types import Inputs, PyTree


def program(run: TextRun) -> Program:
    """(params, carry, tokens before the targets i32[B L], targets i32[B L], 1 where there is one
    i32[B L]) -> (carry, (log likelihoods f32[B L], whether likeliest bool[B L])), compiled.
    """

    def score(
        params: PyTree, carry: PyTree, before_BL: Array, target_BL: Array, there_BL: Array
    ) -> tuple[PyTree, tuple[Array, Array]]:
        variables = scoring.WHOLE.variables(params, (), run.compute)
        inputs = Inputs(before_BL, there_BL)
        logits_BLV, after, _ = run.carry.apply(run.model, variables, inputs, carry)
        likeliest_BL = logits_BLV.argmax(-1) == target_BL
        return after, (-token_nll(logits_BLV, target_BL)[0], likeliest_BL)

    return jax.jit(score)


def scores(
    run: TextRun,
    program: Program,
    params: PyTree,
    texts: Iterator[np.ndarray],
    advance: Callable[[int], None],
) -> Iterator[Score]:
    """The scores of all tokens of texts, as ids, in their order; texts of like lengths are read
    together. `advance` is called with the number of tokens of every block that is scored.
    """
    while chunk := list(islice(texts, BATCHES * run.rows)):
        order = sorted(range(len(chunk)), key=lambda number: len(chunk[number]))
        scores_by_number: dict[int, Score] = {}
        for first in range(0, len(order), run.rows):
            batch = order[first : first + run.rows]
            texts_of_batch = [chunk[number] for number in batch]
            scores_by_number |= zip(batch, _together(run, program, params, texts_of_batch, advance))
        yield from (scores_by_number[number] for number in range(len(chunk)))


def _together(
    run: TextRun,
    program: Program,
    params: PyTree,
    texts: Sequence[np.ndarray],
    advance: Callable[[int], None],
) -> list[Score]:
    """The scores of texts, a row each. A batch has the tokens of one of training: a text alone is
    read in longer windows.
    """
    rows = 1 if len(texts) == 1 else run.rows
    length = run.length * run.rows // rows
    windows = max(1, -(-max(map(len, texts)) // length))
    targets = np.zeros((rows, windows * length), np.int32)
    is_token = np.zeros_like(targets)
    for row, text in enumerate(texts):
        targets[row, : len(text)], is_token[row, : len(text)] = text, 1
    start = np.full((rows, 1), run.codec.end_of_document, np.int32)
    inputs = np.concatenate([start, targets[:, :-1]], axis=1)
    carry, blocks = run.carry.start(rows), []
    for first in range(0, windows * length, length):
        columns = (slice(None), slice(first, first + length))
        carry, block = program(params, carry, inputs[columns], targets[columns], is_token[columns])
        blocks.append(jax.device_get(block))
        advance(int(is_token[columns].sum()))
    nats, greedy = (np.concatenate(arrays, axis=1) for arrays in zip(*blocks))
    return [
        Score(nats[row, : len(text)], greedy[row, : len(text)]) for row, text in enumerate(texts)
    ]
