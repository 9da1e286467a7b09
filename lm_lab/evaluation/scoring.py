"""Programs that give the log likelihood of each token of a batch of rows (rows.py)."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.adapters import none
from lm_lab.engine.chunked import join_positions, split_positions
from lm_lab.evaluation.rows import Program
from lm_lab.evaluation.text_run import TextRun
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import token_nll
from lm_lab.types import Batch, Examples, Inputs, PyTree

WHOLE = none.make(none.Config())


def program(run: TextRun) -> Program:
    """The compiled program that scores a batch of rows, in the form that the run's objective was
    trained on.
    """
    if run.kind.pseudo_likelihood:
        return jax.jit(_hiding(run))
    make = _of_pairs(run) if run.of_pairs else _of_stream(run)

    def score(
        params: PyTree, given_BG: Array, there_BG: Array, target_BT: Array, there_BT: Array
    ) -> tuple[Array, Array]:
        batch = make(given_BG, there_BG, target_BT, there_BT)
        return _scored(run, params, batch.inputs, target_BT)

    return jax.jit(score)


def _of_stream(run: TextRun):
    """Given tokens and target form one window of a stream, as for the likelihood of whole texts."""
    scoring = run.kind.text_likelihood
    assert scoring is not None

    def make(given_BG: Array, there_BG: Array, target_BT: Array, there_BT: Array) -> Batch:
        tokens = jnp.concatenate([given_BG, target_BT], axis=1)
        segments = jnp.concatenate([there_BG, there_BT], axis=1)
        examples = Examples(tokens, segments.astype(jnp.float32), segments)
        return scoring.batch(run.settings, examples, given_BG.shape[1])

    return make


def _of_pairs(run: TextRun):
    """The given tokens are the source of a pair, and the scored ones its target."""

    def make(given_BG: Array, there_BG: Array, target_BT: Array, there_BT: Array) -> Batch:
        sizes = there_BT.astype(jnp.float32)
        examples = Examples(target_BT, sizes, there_BT, given_BG, there_BG)
        return run.objective.prepare(jax.random.key(0), examples)

    return make


def _scored(run: TextRun, params: PyTree, inputs: Inputs, target_BT: Array) -> tuple[Array, Array]:
    """Scores by the last features of each row, those before targets; only these pass through the
    readout.
    """
    variables = WHOLE.variables(params, (), run.compute)
    features_BLD = run.model.apply(variables, inputs, method="features")
    features_BTD = features_BLD[:, -target_BT.shape[1] :]

    def scores(part: tuple[Array, Array]) -> tuple[Array, Array]:
        features_BCD, target_BC = part
        logits_BCV = run.model.apply(variables, features_BCD, method="readout")
        return -token_nll(logits_BCV, target_BC)[0], logits_BCV.argmax(-1) == target_BC

    if run.loss_chunk is None:
        return scores((features_BTD, target_BT))
    parts = [split_positions(leaf, run.loss_chunk) for leaf in (features_BTD, target_BT)]
    nats, correct = lax.map(scores, tuple(parts))
    length = target_BT.shape[1]
    return join_positions(nats, length), join_positions(correct, length)


def _hiding(run: TextRun) -> Program:
    """The token of the row `given` at the place `target` [B 1], given all other tokens
    (1910.14659).
    """

    def score(
        params: PyTree, tokens_BG: Array, segments_BG: Array, place_B1: Array, there_B1: Array
    ) -> tuple[Array, Array]:
        del there_B1
        variables = WHOLE.variables(params, (), run.compute)
        rows = jnp.arange(tokens_BG.shape[0])[:, None]
        shown_BG = tokens_BG.at[rows, place_B1].set(run.vocabulary.hides)
        inputs = Inputs(shown_BG, segments_BG, places_within(segments_BG))
        features_BGD = run.model.apply(variables, inputs, method="features")
        logits_B1V = run.model.apply(variables, features_BGD[rows, place_B1], method="readout")
        target_B1 = tokens_BG[rows, place_B1]
        return -token_nll(logits_B1V, target_B1)[0], logits_B1V.argmax(-1) == target_B1

    return score
