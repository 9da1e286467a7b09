"""Heads that give one output for a whole text."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.linear import Linear
from lm_lab.types import Inputs, Pooling


class Pooled(nn.Module):
    """Any family's model with one vector a text in place of its readout, and `classes` numbers in
    place of logits. A row is one text, or where inputs.pooled names P segments, P texts.

    The vector is the features of the first or last token that is no padding, or their mean;
    "first_tanh" sends the first through a dense layer and tanh, as BERT does (1810.04805). The
    model's parameters are under "model", unchanged by this head, so that those of a trained model
    fit there.
    """

    model: Any  # Linen: features(inputs) -> [B L D]
    classes: int
    pooling: Pooling = "first"

    def setup(self) -> None:
        self.head = Linear(self.classes, "readout", bias=True)

    @nn.compact
    def features(self, inputs: Inputs) -> Array:
        """One vector a text [B P D], P = 1 where a row is one text. A text without tokens has the
        vector of the row's first token ("mean": 0).
        """
        x_BLD = self.model.features(inputs)
        if inputs.pooled is None:
            pooled_BPD = pool(x_BLD, inputs.segments, self.pooling)[:, None]
        else:
            assert inputs.segments is not None
            pooled_BPD = pool_each(x_BLD, inputs.segments, inputs.pooled, self.pooling)
        if self.pooling == "first_tanh":
            pooled_BPD = nn.tanh(
                Linear(pooled_BPD.shape[-1], "expand", bias=True, part="head", name="pooler")(
                    pooled_BPD
                )
            )
        return pooled_BPD

    def readout(self, x_BPD: Array) -> Array:
        """f32[B P C] of features [B P D]."""
        return self.head(x_BPD).astype(jnp.float32)

    def __call__(self, inputs: Inputs) -> Array:
        """f32[B P C]: the logits of classes, or the values of a regression."""
        return self.readout(self.features(inputs))


def pool(x_BLD: Array, segments_BL: Array | None, pooling: Pooling) -> Array:
    """One vector [B D] a row, of tokens whose segment is not 0."""
    real_BL = jnp.ones(x_BLD.shape[:2], bool) if segments_BL is None else segments_BL > 0
    if pooling == "mean":
        count_B1 = jnp.maximum(real_BL.sum(1, keepdims=True), 1)
        total_BD = jnp.where(real_BL[..., None], x_BLD, 0).astype(jnp.float32).sum(1)
        return (total_BD / count_B1).astype(x_BLD.dtype)
    if pooling == "last":
        place_B = (jnp.arange(real_BL.shape[1]) * real_BL).max(1)
    else:
        place_B = real_BL.argmax(1)
    return jnp.take_along_axis(x_BLD, place_B[:, None, None], axis=1)[:, 0]


def pool_each(x_BLD: Array, segments_BL: Array, pooled_BP: Array, pooling: Pooling) -> Array:
    """One vector [B P D] of each segment that `pooled_BP` names, as `pool` of a row that has the
    segment alone.
    """

    def of_segment(pooled_B: Array) -> Array:
        return pool(x_BLD, (segments_BL == pooled_B[:, None]).astype(jnp.int32), pooling)

    return jax.vmap(of_segment, in_axes=1, out_axes=1)(pooled_BP)
