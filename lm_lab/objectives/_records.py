"""What objectives on labelled texts share."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array

from lm_lab.types import Batch, Examples, Inputs


def complete(config: Any, model: Any) -> Any:
    """The settings with the pooling decided by what the model sees, and whether an encoder reads
    the text too.
    """
    pooling = config.pooling or ("last" if model.sees == "past" else "mean")
    return dataclasses.replace(config, pooling=pooling, as_context=model.reads_context)


def prepare(dtype: Any, as_context: bool, key: Array, examples: Examples) -> Batch:
    """One target [B 1] a text, of weight 0 where a row is all padding.

    An encoder-decoder has the text on both sides, as BART (1910.13461).
    """
    del key
    assert examples.labels is not None
    assert examples.segments is not None
    weights_B1 = (examples.segments > 0).any(1, keepdims=True).astype(jnp.float32)
    targets_B1 = examples.labels[:, None].astype(dtype)
    inputs = Inputs(examples.tokens, examples.segments)
    if as_context:
        inputs = inputs._replace(context=examples.tokens, context_segments=examples.segments)
    return Batch(inputs, targets_B1, weights_B1, jnp.zeros_like(weights_B1))
