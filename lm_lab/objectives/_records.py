"""What objectives on labelled texts share."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array

from lm_lab.types import Batch, Examples, Inputs


def complete(config: Any, model: Any) -> Any:
    """The settings with the pooling decided by what the model sees."""
    by_model = "last" if model.sees == "past" else "mean"
    return config if config.pooling is not None else dataclasses.replace(config, pooling=by_model)


def window(config: Any, length: int) -> tuple[int, int]:
    """Records are no windows: one text a row."""
    del config
    return length, length


def prepare(dtype: Any, key: Array, examples: Examples) -> Batch:
    """One target [B 1] a text, of weight 0 where a row is all padding."""
    del key
    assert examples.labels is not None
    assert examples.segments is not None
    weights_B1 = (examples.segments > 0).any(1, keepdims=True).astype(jnp.float32)
    targets_B1 = examples.labels[:, None].astype(dtype)
    return Batch(Inputs(examples.tokens, examples.segments), targets_B1, weights_B1, jnp.zeros_like(weights_B1))
