"""A prefix language model (1910.10683): a text is cut in two, and its end predicted from its
beginning.

The tokens of the prefix see each other, those of the rest the prefix and their own past; the cut of
a row is drawn anew at every step. With several documents in a row, those before the cut are all
prefix, and not targets.

Bits per byte: those of the rest given the prefix, by the bytes of the rest: a likelihood, of the
ends of texts alone.
"""

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Objective, TextLikelihood
from lm_lab.objectives import causal
from lm_lab.objectives._common import left_pad, of_likelihood
from lm_lab.objectives.causal import Config
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, Vocabulary


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` inputs."""
    del config, length, vocabulary
    return of_likelihood(prepare)


def scored(config: Config, examples: Examples, given: int) -> Batch:
    """The batch in which the first `given` tokens of each window [B S] are prefix, and the others
    targets.
    """
    batch = causal.scored(config, examples, given)
    prefix = jnp.broadcast_to(jnp.arange(batch.weights.shape[1]) < given, batch.weights.shape)
    return batch._replace(inputs=batch.inputs._replace(prefix=prefix))


def prepare(key: Array, examples: Examples) -> Batch:
    """As the batch of `causal`, but the first 1 to L inputs are prefix, and targets in the prefix
    have weight 0. Pure in the key.
    """
    batch = causal.prepare(key, examples)
    rows, length = batch.targets.shape
    cut_B1 = jax.random.randint(key, (rows, 1), 1, length + 1)
    index_L = jnp.arange(length)
    # The last token of the prefix predicts the first one after it.
    weights = batch.weights * (index_L >= cut_B1 - 1)
    return batch._replace(inputs=batch.inputs._replace(prefix=index_L < cut_B1), weights=weights)


def prompt(config: Config, vocabulary: Vocabulary, examples: Examples) -> Inputs:
    """What a model is given to continue the texts in examples.context: each is prefix."""
    del config, vocabulary
    return left_pad(examples, prefix=True)


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    window=causal.window,
    text_likelihood=TextLikelihood(causal.given, scored),
    prompt=prompt,
)
