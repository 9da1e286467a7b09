"""Shared by objectives on labelled texts."""

import dataclasses
from typing import Any, Protocol, TypeVar

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import ModelInfo, Settings
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import read_as_context
from lm_lab.types import Batch, Examples, Inputs, Pooling


class _Labelled(Settings, Protocol):
    @property
    def pooling(self) -> Pooling | None: ...
    @property
    def as_context(self) -> bool | None: ...


LabelledT = TypeVar("LabelledT", bound=_Labelled)


def complete(config: LabelledT, model: ModelInfo) -> LabelledT:
    """The settings with `pooling` filled in by the model's scope, and `as_context` by whether it
    has an encoder. Raises UserError for a context that the model does not read.
    """
    pooling = config.pooling or ("last" if model.scope == "causal" else "mean")
    as_context = read_as_context(config.as_context, model)
    return dataclasses.replace(config, pooling=pooling, as_context=as_context)


def prepare(dtype: Any, as_context: bool, key: Array, examples: Examples) -> Batch:
    """One target a text: [B 1], of weight 0 where a row is all padding; [B P] where a row has
    several as segments 1 .. P, of weight 0 where it has fewer.

    An encoder-decoder has the text on both sides, as BART (1910.13461).
    """
    del key
    assert examples.labels is not None
    assert examples.segments is not None
    inputs = Inputs(examples.tokens, examples.segments)
    labels_BP, count_B1 = examples.labels, examples.segments.max(1, keepdims=True)
    if labels_BP.ndim == 1:
        labels_BP = labels_BP[:, None]
    else:
        pooled_BP = jnp.broadcast_to(1 + jnp.arange(labels_BP.shape[1]), labels_BP.shape)
        inputs = inputs._replace(
            positions=places_within(examples.segments), pooled=pooled_BP.astype(jnp.int32)
        )
    weights_BP = (jnp.arange(labels_BP.shape[1]) < count_B1).astype(jnp.float32)
    if as_context:
        inputs = inputs._replace(context=examples.tokens, context_segments=examples.segments)
    return Batch(inputs, labels_BP.astype(dtype), weights_BP, jnp.zeros_like(weights_BP))
