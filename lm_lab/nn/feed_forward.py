"""The position-wise feed-forward layer."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.nn.linear import Linear

Activation = Literal["gelu", "gelu_exact", "relu", "silu", "swiglu", "geglu", "geglu_exact"]
GATED = ("swiglu", "geglu", "geglu_exact")

_C = (2 / jnp.pi) ** 0.5


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """GELU, tanh form (1606.08415). Only x is kept for the backward pass (docs/speed.md)."""
    return 0.5 * x * (1 + jnp.tanh(_C * (x + 0.044715 * x**3)))


def _gelu_backward(x: Array, dy: Array) -> tuple[Array]:
    x = lax.optimization_barrier(
        x
    )  # else XLA shares the tanh of both passes, and keeps it in memory
    tanh = jnp.tanh(_C * (x + 0.044715 * x**3))
    slope = 0.5 * x * (1 - tanh**2) * _C * (1 + 3 * 0.044715 * x**2)
    return (dy * (0.5 * (1 + tanh) + slope),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_exact": partial(nn.gelu, approximate=False),
    "relu": nn.relu,
    "silu": nn.silu,
}
GATES = {"swiglu": nn.silu, "geglu": gelu, "geglu_exact": ACTIVATIONS["gelu_exact"]}


class FeedForward(nn.Module):
    """[... D] -> [... D] through F inner features (1706.03762), gated for swiglu, geglu and
    geglu_exact (2002.05202).

    `gelu` is the tanh form, `gelu_exact` has the error function. `scale` multiplies the initial
    standard deviation of the projection back into the stream.
    """

    inner: int
    activation: Activation
    scale: float
    bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        up = Linear(self.inner, "expand", bias=self.bias, part="feed_forward", name="up")(x)
        if self.activation in GATED:
            gate = Linear(self.inner, "expand", bias=self.bias, part="feed_forward", name="gate")(x)
            hidden = GATES[self.activation](gate) * up
        else:
            hidden = ACTIVATIONS[self.activation](up)
        return Linear(x.shape[-1], "contract", self.scale, self.bias, "feed_forward", name="down")(
            hidden
        )
