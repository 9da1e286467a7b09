"""Normalisation in float32, whatever the dtype of the stream."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.nn.linear import scale_param

Kind = Literal["rms", "layer"]


class Norm(nn.Module):
    """RMSNorm (1910.07467) or LayerNorm without bias (1607.06450) over the last axis: [... D] -> [... D]."""

    kind: Kind
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = scale_param(self, x.shape[-1])
        y = x.astype(jnp.float32)
        if self.kind == "layer":
            y = y - y.mean(-1, keepdims=True)
        y = y * lax.rsqrt((y * y).mean(-1, keepdims=True) + self.epsilon)
        return (y * scale.astype(jnp.float32)).astype(x.dtype)
