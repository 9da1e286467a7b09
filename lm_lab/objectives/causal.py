"""Next-token prediction: every token of a window but its first is a target."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Objective, TextLikelihood
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import of_likelihood
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, Vocabulary


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` targets."""
    del config, length, vocabulary
    return of_likelihood(prepare)


def window(config: Any, length: int) -> tuple[int, int]:
    """(tokens in a window, tokens from one window to the next): each token is a target once an
    epoch.
    """
    del config
    return length + 1, length


def given(config: Any, length: int) -> int:
    """Tokens of a window that are context where a whole text is scored: half, so that every token
    has at least that much context.
    """
    del config
    return length // 2 + 1


def scored(config: Any, examples: Examples, given: int) -> Batch:
    """The batch whose targets are the tokens of each window [B S] after the first `given`."""
    del config
    batch = prepare(jax.random.key(0), examples)
    return batch._replace(weights=batch.weights * (jnp.arange(batch.weights.shape[1]) >= given - 1))


def prepare(key: Array, examples: Examples) -> Batch:
    """Targets are the inputs one step later; a target in another segment than its input, or in
    padding, has weight 0.
    """
    del key
    tokens, segments = examples.tokens, examples.segments
    weights = jnp.ones(tokens[:, 1:].shape, jnp.float32)
    if segments is None:
        return Batch(Inputs(tokens[:, :-1]), tokens[:, 1:], weights, examples.bytes[:, 1:])
    weights *= (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    inputs = Inputs(tokens[:, :-1], segments[:, :-1], places_within(segments[:, :-1]))
    return Batch(inputs, tokens[:, 1:], weights, examples.bytes[:, 1:])


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    window=window,
    text_likelihood=TextLikelihood(given, scored),
    reads_on=True,
)
