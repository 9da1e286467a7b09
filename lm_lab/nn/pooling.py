"""Heads that say one thing of a whole text."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.linear import Linear
from lm_lab.types import Inputs, Pooling


class Pooled(nn.Module):
    """Any family's model with one vector a row in place of its readout, and `classes` numbers in
    place of logits.

    The vector is the features of the first or last token that is no padding, or their mean;
    "first_tanh" sends the first through a dense layer and tanh, as BERT does (1810.04805). The
    model's parameters stand under "model", as they are without this head, so that those of a
    trained one can be put there.
    """

    model: Any  # Linen: features(inputs) -> [B L D]
    classes: int
    pooling: Pooling = "first"

    def setup(self) -> None:
        self.head = Linear(self.classes, "readout", bias=True)

    @nn.compact
    def features(self, inputs: Inputs) -> Array:
        """The vector of each row [B 1 D]; of a row that is all padding, that of its first token (or
        0, the mean).
        """
        pooled_BD = pool(self.model.features(inputs), inputs.segments, self.pooling)
        if self.pooling == "first_tanh":
            pooled_BD = nn.tanh(
                Linear(pooled_BD.shape[-1], "expand", bias=True, part="head", name="pooler")(
                    pooled_BD
                )
            )
        return pooled_BD[:, None]

    def readout(self, x_B1D: Array) -> Array:
        """f32[B 1 C] of features [B 1 D]."""
        return self.head(x_B1D).astype(jnp.float32)

    def __call__(self, inputs: Inputs) -> Array:
        """f32[B 1 C]: the logits of classes, or the values of a regression."""
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
