"""Pseudo-likelihood of held-out text (1910.14659): the sum of log p(token | all the others).

Models that see the whole text have no likelihood to compare. The pseudo-likelihood is no log
probability of a text, and lies above the likelihoods of other models, so it compares such models
only with each other. Its rates are therefore named pseudo_nll and pseudo_bits_per_byte everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.contracts import EvaluationData, Metric, MetricFunction, Model
from lm_lab.evaluation import likelihood
from lm_lab.nn.positions import places_within
from lm_lab.objectives import _common
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, PyTree, Sums, Vocabulary


@dataclass(frozen=True)
class Config:
    """How much text."""

    batches: int = setting("held-out batches, of the rows of training", 1, low=1)


def prepare(config: Config, data: EvaluationData) -> MetricFunction:
    """The rates of some held-out batches."""
    total = jax.jit(pseudo_likelihood(data.model, data.vocabulary, data.compute))
    examples = data.heldout(data.batch_size, config.batches)
    return lambda params: rates(jax.device_get(total(params, examples)))


def pseudo_likelihood(
    model: Model, vocabulary: Vocabulary, compute: str
) -> Callable[[PyTree, Examples], Sums]:
    """(params, examples [n B L]) -> sums over n batches, with the mask in place of each token in
    turn.

    Padding and end_of_document are no targets, as in training. A batch takes L forward passes of B
    rows.
    """

    def batch_sums(params: PyTree, examples: Examples) -> Sums:
        def hidden(place: Array) -> Sums:
            return _place_sums(model, vocabulary, params, examples, place)

        places = jnp.arange(examples.tokens.shape[1])
        return lax.scan(
            lambda sums, place: (_add(sums, hidden(place)), None), hidden(places[0]), places[1:]
        )[0]

    def total(params: PyTree, examples: Examples) -> Sums:
        cast = jax.tree.map(lambda x: x.astype(compute), params)
        sums = lax.map(lambda batch: batch_sums(cast, batch), examples)
        return jax.tree.map(lambda x: x.sum(0), sums)

    return total


def rates(sums: Mapping[str, Any]) -> dict[str, float]:
    """The rates of `likelihood`, with names that begin with "pseudo_"."""
    return {f"pseudo_{name}": rate for name, rate in likelihood.rates(sums).items()}


def _add(one: Sums, other: Sums) -> Sums:
    return jax.tree.map(jnp.add, one, other)


def _place_sums(
    model: Model, vocabulary: Vocabulary, params: PyTree, examples: Examples, place: Array
) -> Sums:
    """The sums for one position of each row; only its features pass through the readout."""
    segments_BL = examples.segments
    positions_BL = None if segments_BL is None else places_within(segments_BL)
    tokens_BL = examples.tokens.at[:, place].set(vocabulary.hides)
    variables = {"params": params}
    features_BLD = model.apply(
        variables, Inputs(tokens_BL, segments_BL, positions_BL), method="features"
    )
    logits_B1V = model.apply(variables, _at(features_BLD, place), method="readout")
    target_B1 = _at(examples.tokens, place)
    weights_B1 = target_B1 != vocabulary.end_of_document
    if segments_BL is not None:
        weights_B1 &= _at(segments_BL, place) > 0
    batch = Batch(
        Inputs(tokens_BL), target_B1, weights_B1.astype(jnp.float32), _at(examples.bytes, place)
    )
    return _common.likelihood(logits_B1V, batch)


def _at(x_BL: Array, place: Array) -> Array:
    return lax.dynamic_slice_in_dim(x_BL, place, 1, axis=1)


METRIC = Metric(Config, prepare)
