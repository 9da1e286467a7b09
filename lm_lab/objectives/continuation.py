"""Continuation: the likelihood of the end of a window, given its beginning.

All generative families can be evaluated by it on the same targets: a decoder or a recurrent model
reads both in one row, an encoder-decoder has the beginning as its context. Bits per byte are those
of the ends.
"""

import dataclasses

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import ModelInfo, Objective, TextLikelihood
from lm_lab.nn.positions import places_within
from lm_lab.objectives import causal
from lm_lab.objectives._common import left_pad, of_likelihood, read_as_context
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, Vocabulary


@dataclasses.dataclass(frozen=True)
class Config:
    """Where a window is cut."""

    given: float = setting("share of the window that is given", 0.5, low=0.01, high=0.99)
    as_context: bool | None = setting(
        "whether an encoder reads the beginning; None: what the model reads", None
    )


def complete(config: Config, model: ModelInfo) -> Config:
    """The settings with `as_context` filled in: True if the model has an encoder. Raises UserError
    for a context that the model does not read.
    """
    return dataclasses.replace(config, as_context=read_as_context(config.as_context, model))


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` + 1 tokens."""
    del vocabulary
    cut = given(config, length)

    def prepare(key: Array, examples: Examples) -> Batch:
        del key
        if config.as_context:
            return _from_context(examples, cut)
        return causal.scored(config, examples, cut)

    return of_likelihood(prepare)


def given(config: Config, length: int) -> int:
    """Tokens of a window that are given as context."""
    return min(max(1, round(config.given * length)), length)


def scored(config: Config, examples: Examples, given: int) -> Batch:
    """The batch whose targets are the tokens of each window [B S] after the first `given`; a
    decoder beside an encoder counts its positions from there.
    """
    if not config.as_context:
        return causal.scored(config, examples, given)
    batch = _from_context(examples, given)
    return batch._replace(inputs=batch.inputs._replace(positions=None))


def _from_context(examples: Examples, cut: int) -> Batch:
    """The decoder's input begins with the last token of the context, so that its targets are those
    of one row cut at that token.
    """
    tokens, segments = examples.tokens, examples.segments
    targets, sizes = tokens[:, cut:], examples.bytes[:, cut:]
    weights = jnp.ones(targets.shape, jnp.float32)
    inputs = Inputs(tokens[:, cut - 1 : -1], context=tokens[:, :cut])
    if segments is None:
        return Batch(inputs, targets, weights, sizes)
    weights *= (segments[:, cut:] == segments[:, cut - 1 : -1]) & (segments[:, cut:] > 0)
    positions = places_within(segments)[:, cut - 1 : -1]
    inputs = inputs._replace(
        segments=segments[:, cut - 1 : -1], positions=positions, context_segments=segments[:, :cut]
    )
    return Batch(inputs, targets, weights, sizes)


def prompt(config: Config, vocabulary: Vocabulary, examples: Examples) -> Inputs:
    """What a model is given to continue the texts in examples.context; a decoder beside an encoder
    begins with their last token.
    """
    del vocabulary
    if not config.as_context:
        return left_pad(examples)
    assert examples.context is not None
    assert examples.context_segments is not None
    rows = jnp.arange(examples.context.shape[0])
    lengths_B = examples.context_segments.sum(1)
    last_B1 = examples.context[rows, lengths_B - 1][:, None]
    ones = jnp.ones_like(last_B1)
    return Inputs(last_B1, ones, 0 * ones, examples.context, examples.context_segments)


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    needs_context=None,
    window=causal.window,
    complete=complete,
    prompt=prompt,
    text_likelihood=TextLikelihood(given, scored),
)
