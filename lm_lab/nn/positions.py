"""How a model knows where a token stands."""

import math
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lm_lab.nn.linear import Embedding

Scaling = Literal["none", "linear", "llama3"]


class Rotary(NamedTuple):
    """How fast the pairs of a head turn."""

    base: float = 10_000.0
    scaling: Scaling = "none"
    factor: float = 1.0  # by which what is scaled turns more slowly
    low_factor: float = (
        1.0  # llama3: pairs that turn less often than this in `length` tokens are scaled in full,
    )
    high_factor: float = (
        4.0  # those that turn more often than this are not, and those between in part
    )
    length: int = 8192  # llama3: the length that positions were learnt at
    share: float = 1.0  # of a head's features that turn: the first ones


def rates(rotary: Rotary, pairs: int) -> Array:
    """Radians a token f32[pairs]: base^(-i/pairs), slowed for longer sequences.

    "linear" divides all of them (2306.15595); "llama3" the slow ones only (2407.21783, in Meta's
    published code).
    """
    rates = rotary.base ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    if rotary.scaling == "linear":
        return rates / rotary.factor
    if rotary.scaling == "llama3":
        turns = rotary.length * rates / (2 * math.pi)
        kept = jnp.clip(
            (turns - rotary.low_factor) / (rotary.high_factor - rotary.low_factor), 0, 1
        )
        return rates * (kept + (1 - kept) / rotary.factor)
    return rates


def rotate(x_BLHK: Array, positions_BL: Array, rotary: Rotary) -> Array:
    """Rotary positions (2104.09864), halves convention: pairs (i, i + K/2) turn by position * rate
    i.

    Angles and their cosines are float32 whatever the dtype of x; K, the features that turn, must be
    even.
    """
    turning = int(rotary.share * x_BLHK.shape[-1])
    if turning < x_BLHK.shape[-1]:
        turned = rotate(x_BLHK[..., :turning], positions_BL, rotary._replace(share=1.0))
        return jnp.concatenate([turned, x_BLHK[..., turning:]], axis=-1)
    half = turning // 2
    angles = positions_BL[..., None, None].astype(jnp.float32) * rates(rotary, half)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = x_BLHK[..., :half].astype(jnp.float32), x_BLHK[..., half:].astype(jnp.float32)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(
        x_BLHK.dtype
    )


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


def sinusoidal(positions_BL: Array, width: int) -> Array:
    """f32[B L D] of 1706.03762 with all sines before all cosines: of position * 10000^(-2i/D); D
    must be even.
    """
    half = width // 2
    rates = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions_BL[..., None].astype(jnp.float32) * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def places_within(segments_BL: Array) -> Array:
    """Positions i32[B L] that start again at 0 with every segment."""
    slots_L = jnp.arange(segments_BL.shape[1])
    starts_BL = jnp.diff(segments_BL, axis=1, prepend=0) != 0
    return slots_L - lax.cummax(jnp.where(starts_BL, slots_L, 0), axis=1)


def relative_buckets(
    distances: Array, *, bidirectional: bool, buckets: int = 32, reach: int = 128
) -> Array:
    """T5's bucket i32[...] (1910.10683) of each distance i32[...], query less key.

    Half of the buckets hold one distance each, the others grow by a constant ratio up to `reach`,
    and the last has all beyond. Keys to the right have the upper half of all, or are in bucket 0
    where they are not seen.
    """
    side = buckets // 2 if bidirectional else buckets
    exact, steps = side // 2, np.arange(reach + 1)
    growth = np.log(np.maximum(steps, exact) / exact) / np.log(reach / exact) * (side - exact)
    # Distances at which a bucket begins are whole numbers here that rounding must not move below
    # them.
    of_step = jnp.asarray(
        np.where(steps < exact, steps, exact + growth + 1e-9).clip(max=side - 1), jnp.int32
    )
    far = jnp.abs(distances) if bidirectional else jnp.maximum(distances, 0)
    upper = jnp.where(distances < 0, side, 0) if bidirectional else 0
    return of_step[jnp.minimum(far, reach)] + upper


class RelativeBias(nn.Module):
    """What T5 adds to the scores of each head, learned for every bucket of distances: f32[1 H L M]
    of distance_LM.

    It is looked up once a distance and laid out along the diagonals, so that its gradient is a sum,
    not a scatter.
    """

    heads: int
    bidirectional: bool = False
    buckets: int = 32
    reach: int = 128

    @nn.compact
    def __call__(self, distance_LM: Array) -> Array:
        queries, keys = distance_LM.shape
        distances = distance_LM[0, 0] + queries - 1 - jnp.arange(queries + keys)
        table = Embedding(self.buckets, self.heads, name="table")
        ids = relative_buckets(
            distances, bidirectional=self.bidirectional, buckets=self.buckets, reach=self.reach
        )
        return _along_diagonals(table(ids).astype(jnp.float32).T, queries, keys)[None]


def _along_diagonals(values_HP: Array, queries: int, keys: int) -> Array:
    """[H L M] whose entry (l, m) is values[:, L - 1 - l + m], of P = L + M values.

    Read with a period of P - 1, copies of the values begin one entry earlier in every row.
    """
    heads, count = values_HP.shape
    copies_HP = jnp.broadcast_to(values_HP[:, None], (heads, queries + 1, count)).reshape(heads, -1)
    rows = copies_HP[:, queries - 1 : queries - 1 + queries * (count - 1)].reshape(
        heads, queries, count - 1
    )
    return rows[..., :keys]
