"""Direct preference optimisation (2305.18290): the answer that people chose becomes likelier than
the other one, measured against the model that training starts from.

The reward of an answer is `beta` times the log of its likelihood over that under the reference, the
model of `train.initial`. By Bradley and Terry the chosen answer wins with probability sigmoid(its
reward - the other's), and "nll" is that of the choice: ln 2 before the first step. The reference is
frozen, so the likelihoods that it gives are taken once, before training (train/reference.py). A row
is that of `reward`: the answers stand side by side, each behind the prompt, as segments that do not
see each other.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.contracts import Objective
from lm_lab.nn.positions import places_within
from lm_lab.objectives import seq2seq
from lm_lab.objectives._common import left_pad, token_nll
from lm_lab.schema import setting
from lm_lab.types import (
    ANSWERS,
    Batch,
    Examples,
    Inputs,
    ObjectiveFunctions,
    Sums,
    Vocabulary,
)


@dataclass(frozen=True)
class Config:
    """How far the model may move."""

    beta: float = setting(
        "reward of a nat of likelihood over the reference; a larger one stays nearer to it",
        0.1,
        above=0.0,
    )


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective: "weight" counts preferences, "correct" those whose chosen answer has the
    higher reward; "chosen_gain" and "rejected_gain" are nats of the answers over the reference.
    """
    del length
    return ObjectiveFunctions(
        partial(_prepare, vocabulary.end_of_document), partial(_loss, config.beta)
    )


def _prepare(end: int, key: Array, examples: Examples) -> Batch:
    """The next tokens as targets; those of an answer have weight, each its share of the preference,
    so that a row weighs as much as it has preferences.
    """
    del key
    if examples.context is not None:  # a prompt and an answer, whose likelihood a task asks for
        return seq2seq.joined(examples)
    tokens_BL, segments_BL = examples.tokens, examples.segments
    assert segments_BL is not None
    assert examples.labels is not None
    places_BL = places_within(segments_BL)
    numbers_L = jnp.arange(tokens_BL.shape[1])
    last_end_BL = lax.cummax(jnp.where(tokens_BL == end, numbers_L, -1), axis=1)
    behind_prompt_BL = last_end_BL >= numbers_L - places_BL
    next_segments_BL = jnp.pad(segments_BL[:, 1:], ((0, 0), (0, 1)))
    is_answer_BL = behind_prompt_BL & (next_segments_BL == segments_BL) & (segments_BL > 0)
    answers = examples.labels.shape[1]
    sizes_BP = _by_answer(is_answer_BL.astype(jnp.float32), segments_BL, answers)
    sizes_BK = sizes_BP.reshape(len(sizes_BP), -1, ANSWERS).sum(-1)
    pair_BL = jnp.maximum(segments_BL - 1, 0) // ANSWERS
    size_BL = jnp.take_along_axis(sizes_BK, pair_BL, axis=1)
    weights_BL = is_answer_BL / jnp.maximum(size_BL, 1)
    reference_BP = examples.reference
    if reference_BP is None:
        reference_BP = jnp.zeros(examples.labels.shape, jnp.float32)
    targets_BL, bytes_BL = (
        jnp.pad(leaf[:, 1:], ((0, 0), (0, 1))) for leaf in (tokens_BL, examples.bytes)
    )
    inputs = Inputs(tokens_BL, segments_BL, places_BL)
    return Batch(inputs, targets_BL, weights_BL, bytes_BL, reference_BP)


def likelihoods(logits_BLV: Array, batch: Batch) -> Array:
    """The log likelihood f32[B P] of each answer, given its prompt; 0 where there is none."""
    assert batch.reference is not None
    assert batch.inputs.segments is not None
    nll_BL, _ = token_nll(logits_BLV, batch.targets)
    return _by_answer(
        -nll_BL * (batch.weights > 0), batch.inputs.segments, batch.reference.shape[1]
    )


def _by_answer(values_BL: Array, segments_BL: Array, answers: int) -> Array:
    """The sums [B P] of the values of segments 1, 2, ..., P."""
    own_BLP = segments_BL[..., None] == 1 + jnp.arange(answers)
    return jnp.where(own_BLP, values_BL[..., None], 0).sum(1)


def _loss(beta: float, logits_BLV: Array, batch: Batch) -> Sums:
    assert batch.reference is not None
    assert batch.inputs.segments is not None
    gain_BP = likelihoods(logits_BLV, batch) - batch.reference
    gain_BKA = gain_BP.reshape(len(gain_BP), -1, ANSWERS)  # of K preferences in a row
    pairs = gain_BKA.shape[1]
    last_B1 = batch.inputs.segments.max(1, keepdims=True)
    there_BK = (last_B1 >= ANSWERS * (1 + jnp.arange(pairs))).astype(jnp.float32)
    lead_BK = gain_BKA[..., 0] - gain_BKA[..., 1]
    return {
        "nll": (jax.nn.softplus(-beta * lead_BK) * there_BK).sum(),
        "weight": there_BK.sum(),
        "correct": ((lead_BK > 0) * there_BK).sum(),
        "chosen_gain": (gain_BKA[..., 0] * there_BK).sum(),
        "rejected_gain": (gain_BKA[..., 1] * there_BK).sum(),
    }


def prompt(config: Config, vocabulary: Vocabulary, examples: Examples) -> Inputs:
    """What a model is given before it writes the first token of an answer."""
    del config, vocabulary
    return left_pad(examples)


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    consumes="preferences",
    prompt=prompt,
    reference=likelihoods,
)
