"""Shared by objectives on whole texts, with labels or preferred."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import ModelInfo, PooledHead
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import read_as_context
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, Pooling


@dataclass(frozen=True, kw_only=True)
class PooledConfig:
    """How the features of a text are pooled."""

    pooling: Pooling | None = setting(
        "None: the last token where a model sees the past alone, else the mean", None
    )
    as_context: bool | None = setting(
        "whether an encoder reads the text too; None: where the model has one", None
    )


PooledT = TypeVar("PooledT", bound=PooledConfig)


def head(config: PooledConfig, outputs: int = 1) -> PooledHead:
    """The head on the model, with so many outputs a text."""
    assert config.pooling is not None, "resolve the config first"
    return PooledHead(outputs, config.pooling)


def complete(config: PooledT, model: ModelInfo) -> PooledT:
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
