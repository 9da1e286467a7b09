"""How a model knows where a token stands."""

import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array

Scaling = Literal["none", "linear", "llama3"]


class Rotary(NamedTuple):
    """How fast the pairs of a head turn."""

    base: float = 10_000.0
    scaling: Scaling = "none"
    factor: float = 1.0  # by which what is scaled turns more slowly
    low_factor: float = 1.0  # llama3: pairs that turn less often than this in `length` tokens are scaled in full,
    high_factor: float = 4.0  # those that turn more often than this are not, and those between in part
    length: int = 8192  # llama3: the length that positions were learnt at


def rates(rotary: Rotary, pairs: int) -> Array:
    """Radians a token f32[pairs]: base^(-i/pairs), slowed for longer sequences.

    "linear" divides all of them (2306.15595); "llama3" the slow ones only (2407.21783, in Meta's published code).
    """
    rates = rotary.base ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    if rotary.scaling == "linear":
        return rates / rotary.factor
    if rotary.scaling == "llama3":
        turns = rotary.length * rates / (2 * math.pi)
        kept = jnp.clip((turns - rotary.low_factor) / (rotary.high_factor - rotary.low_factor), 0, 1)
        return rates * (kept + (1 - kept) / rotary.factor)
    return rates


def rotate(x_BLHK: Array, positions_BL: Array, rotary: Rotary) -> Array:
    """Rotary positions (2104.09864), halves convention: pairs (i, i + K/2) turn by position * rate i.

    Angles and their cosines are float32 whatever the dtype of x; K must be even.
    """
    half = x_BLHK.shape[-1] // 2
    angles = positions_BL[..., None, None].astype(jnp.float32) * rates(rotary, half)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = x_BLHK[..., :half].astype(jnp.float32), x_BLHK[..., half:].astype(jnp.float32)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x_BLHK.dtype)


def alibi_slopes(heads: int) -> list[float]:
    """The slope of each head's bias (2108.12409): 2^(-8i/H) for i = 1 .. H, H a power of two.

    Other counts take those of the power of two below, and then every second one of the power above.
    """
    below = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * i / below) for i in range(1, below + 1)]
    return slopes + [2 ** (-4 * i / below) for i in range(1, 2 * (heads - below), 2)]


def alibi_bias(distance_LM: Array, heads: int) -> Array:
    """f32[1 H L M], -slope * |distance|, which is added to the scores (2108.12409)."""
    slopes_H = jnp.asarray(alibi_slopes(heads), jnp.float32)
    return -slopes_H[None, :, None, None] * jnp.abs(distance_LM).astype(jnp.float32)
