"""How a model knows where a token stands."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Rotary(NamedTuple):
    """How fast the pairs of a head turn."""

    base: float = 10_000.0


def rotate(x_BLHK: Array, positions_BL: Array, rotary: Rotary) -> Array:
    """Rotary positions (2104.09864), halves convention: pairs (i, i + K/2) turn by position * base^(-2i/K).

    Angles and their cosines are float32 whatever the dtype of x; K must be even.
    """
    half = x_BLHK.shape[-1] // 2
    rates = rotary.base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions_BL[..., None, None].astype(jnp.float32) * rates
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = x_BLHK[..., :half].astype(jnp.float32), x_BLHK[..., half:].astype(jnp.float32)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x_BLHK.dtype)
