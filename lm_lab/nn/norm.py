"""Normalisation in float32, whatever the dtype of the stream."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.nn.linear import bias_param, scale_param

Kind = Literal["rms", "layer"]


class Norm(nn.Module):
    """RMSNorm (1910.07467) or LayerNorm (1607.06450) over the last axis: [... D] -> [... D]."""

    kind: Kind
    epsilon: float = 1e-6
    bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = scale_param(self, x.shape[-1])
        y: Array = _norm(self.kind, self.epsilon, x, scale.astype(jnp.float32))
        return (
            y + bias_param(self, x.shape[-1], "width", "norm").astype(x.dtype) if self.bias else y
        )


def _normalise(kind: Kind, epsilon: float, x: Array) -> tuple[Array, Array]:
    """(f32[... D] of unit mean square, f32[... 1] by which it was multiplied)."""
    y = x.astype(jnp.float32)
    if kind == "layer":
        y = y - y.mean(-1, keepdims=True)
    factor = lax.rsqrt((y * y).mean(-1, keepdims=True) + epsilon)
    return y * factor, factor


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _norm(kind: Kind, epsilon: float, x: Array, scale: Array) -> Array:
    """The norm with a custom derivative: only x is saved for the backward pass, which reads memory
    fewer times than the one that JAX derives.
    """
    return (_normalise(kind, epsilon, x)[0] * scale).astype(x.dtype)


def _norm_backward(
    kind: Kind, epsilon: float, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, scale = residuals
    unit, factor = _normalise(kind, epsilon, x)
    dy = dy.astype(jnp.float32)
    dunit = dy * scale
    dx = dunit - unit * (dunit * unit).mean(-1, keepdims=True)
    if kind == "layer":
        dx -= dunit.mean(-1, keepdims=True)
    return (dx * factor).astype(x.dtype), (dy * unit).sum(range(x.ndim - 1))


_norm.defvjp(
    lambda kind, epsilon, x, scale: (_norm(kind, epsilon, x, scale), (x, scale)), _norm_backward
)
