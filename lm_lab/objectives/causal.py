"""Next-token prediction: every token of a window but its first is a target."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.types import Batch, Examples, Inputs, Objective, Sums


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


def make(config: Config, length: int) -> Objective:
    """The objective on windows of `length` targets."""
    del config, length
    return Objective(prepare, loss)


def window(config: Config, length: int) -> tuple[int, int]:
    """(tokens in a window, tokens from one window to the next): each token is a target once an epoch."""
    del config
    return length + 1, length


def prepare(key: Array, examples: Examples) -> Batch:
    """Targets are the inputs one step on; a target of another segment than its input (or of padding) weighs 0."""
    del key
    tokens, segments = examples.tokens, examples.segments
    weights = jnp.ones(tokens[:, 1:].shape, jnp.float32)
    if segments is None:
        return Batch(Inputs(tokens[:, :-1]), tokens[:, 1:], weights, examples.bytes[:, 1:])
    weights *= (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    inputs = Inputs(tokens[:, :-1], segments[:, :-1], _positions(segments[:, :-1]))
    return Batch(inputs, tokens[:, 1:], weights, examples.bytes[:, 1:])


def _positions(segments_BL: Array) -> Array:
    """Positions that start again at 0 with every segment."""
    index_L = jnp.arange(segments_BL.shape[1])
    starts_BL = jnp.diff(segments_BL, axis=1, prepend=0) != 0
    return index_L - jax.lax.cummax(jnp.where(starts_BL, index_L, 0), axis=1)


def loss(logits_BLV: Array, batch: Batch) -> Sums:
    """Sums over targets: nll in nats, weight (targets counted), UTF-8 bytes they stand for."""
    peak_BL1 = jax.lax.stop_gradient(logits_BLV.max(-1, keepdims=True))
    log_total_BL = jnp.log(jnp.exp(logits_BLV - peak_BL1).sum(-1)) + peak_BL1[..., 0]
    target_BL = jnp.take_along_axis(logits_BLV, batch.targets[..., None], axis=-1)[..., 0]
    nll_BL = log_total_BL - target_BL
    return {
        "nll": (nll_BL * batch.weights).sum(),
        "weight": batch.weights.sum(),
        "bytes": (batch.bytes * batch.weights).sum(),
    }
