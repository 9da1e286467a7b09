"""What objectives on labelled texts share."""

import dataclasses
from typing import Any, Protocol, TypeVar

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import ModelInfo, Settings
from lm_lab.objectives._common import read_as_context
from lm_lab.types import Batch, Examples, Inputs, Pooling


class _Labelled(Settings, Protocol):
    @property
    def pooling(self) -> Pooling | None: ...
    @property
    def as_context(self) -> bool | None: ...


LabelledT = TypeVar("LabelledT", bound=_Labelled)


def complete(config: LabelledT, model: ModelInfo) -> LabelledT:
    """The settings with the pooling decided by what the model sees, and whether an encoder reads
    the text too. Raises UserError for a context that it does not read.
    """
    pooling = config.pooling or ("last" if model.scope == "causal" else "mean")
    as_context = read_as_context(config.as_context, model)
    return dataclasses.replace(config, pooling=pooling, as_context=as_context)


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
