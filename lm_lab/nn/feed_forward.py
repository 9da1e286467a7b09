"""The position-wise feed-forward layer."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.nn.linear import Linear

Activation = Literal["gelu", "swiglu"]

_C = (2 / jnp.pi) ** 0.5


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """GELU, tanh form (1606.08415). Only x is kept for the backward pass (docs/speed.md)."""
    return 0.5 * x * (1 + jnp.tanh(_C * (x + 0.044715 * x**3)))


def _gelu_backward(x: Array, dy: Array) -> tuple[Array]:
    x = lax.optimization_barrier(x)  # else XLA finds the tanh common to both passes, and keeps it too
    tanh = jnp.tanh(_C * (x + 0.044715 * x**3))
    slope = 0.5 * x * (1 - tanh**2) * _C * (1 + 3 * 0.044715 * x**2)
    return (dy * (0.5 * (1 + tanh) + slope),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


class FeedForward(nn.Module):
    """[... D] -> [... D] through F inner features: GELU (1706.03762's shape) or SwiGLU (2002.05202).

    `scale` multiplies the initial standard deviation of the projection back into the stream.
    """

    inner: int
    activation: Activation
    scale: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        up = Linear(self.inner, "expand", name="up")(x)
        if self.activation == "gelu":
            hidden = gelu(up)
        else:
            hidden = nn.silu(Linear(self.inner, "expand", name="gate")(x)) * up
        return Linear(x.shape[-1], "contract", self.scale, name="down")(hidden)
