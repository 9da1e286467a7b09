"""Position schemes: how a model knows where a token stands.

A scheme is a frozen dataclass of settings that overrides methods of `Scheme`: it adds to the
embeddings, rotates queries and keys, or adds to the attention scores. All attention families take
all of SCHEMES, and one of an outside package by the dotted path of a module that ends in `POSITIONS
= ItsScheme`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lm_lab.nn.linear import Embedding
from lm_lab.schema import Condition, choice, setting
from lm_lab.types import UserError


class Sizes(NamedTuple):
    """What a scheme may need to know of the model."""

    width: int  # D
    heads: int  # H
    head_dim: int  # K
    length: int | None = None  # longest sequence, for tables of positions
    bidirectional: bool = False  # whether keys on both sides are seen


@dataclass(frozen=True)
class Scheme:
    """The base of all schemes, and the one without positions: order is in the mask alone.

    `table` below is the module that `module` returns; its parameters are the model's "positions".
    """

    scales_embedding: ClassVar[bool] = False  # whether embeddings must have entries of unit size
    limits_length: ClassVar[bool] = False  # whether there are parameters for each position
    absolute: ClassVar[bool] = False  # whether the stream says where a token stands

    def check(self, sizes: Sizes) -> None:
        """Raises UserError for a model that this scheme cannot serve."""

    def module(self, sizes: Sizes) -> nn.Module | None:
        """The module of the scheme's learned parameters, if it has any."""
        del sizes
        return None

    def embed(self, x_BLD: Array, positions_BL: Array, table: Any) -> Array:
        """The stream [B L D] with positions i32[1|B, L] added."""
        del positions_BL, table
        return x_BLD

    def rotate(self, x_BLHK: Array, positions_BL: Array, *, windowed: bool) -> Array:
        """Queries or keys [B L H K], rotated by their positions; `windowed`: in a layer with a
        window.
        """
        del positions_BL, windowed
        return x_BLHK

    def bias(self, distance_LM: Array, heads: int, table: Any) -> Array | None:
        """f32[1 H L M], added to attention scores; distance: the query's slot minus the key's."""
        del distance_LM, heads, table
        return None


@dataclass(frozen=True)
class Unscaled:
    """Rotary positions as they are."""

    def scale(self, rates_P: Array) -> Array:
        """Radians a token of each pair."""
        return rates_P


@dataclass(frozen=True)
class LinearScaling:
    """All pairs turn more slowly (2306.15595)."""

    factor: float = setting("by which all pairs turn more slowly", 1.0, low=1.0)

    def scale(self, rates_P: Array) -> Array:
        """Radians a token of each pair."""
        return rates_P / self.factor


@dataclass(frozen=True)
class Llama3:
    """Slow pairs turn more slowly (2407.21783, in Meta's published code). Raises UserError for a
    low_factor that is not below high_factor.
    """

    factor: float = setting("by which slow pairs turn more slowly", 1.0, low=1.0)
    low_factor: float = setting("pairs with fewer turns in `length` are scaled in full", 1.0, low=0)
    high_factor: float = setting("pairs with more turns in `length` are not scaled", 4.0, low=0)
    length: int = setting("tokens of the sequences that positions were trained on", 8192, low=1)

    def __post_init__(self) -> None:
        if self.low_factor >= self.high_factor:
            raise UserError(
                f"low_factor {self.low_factor} is not below high_factor {self.high_factor}"
            )

    def scale(self, rates_P: Array) -> Array:
        """Radians a token of each pair."""
        turns_P = self.length * rates_P / (2 * math.pi)
        kept_P = jnp.clip((turns_P - self.low_factor) / (self.high_factor - self.low_factor), 0, 1)
        return rates_P * (kept_P + (1 - kept_P) / self.factor)


SCALINGS = {"none": Unscaled, "linear": LinearScaling, "llama3": Llama3}


@dataclass(frozen=True)
class Rotary(Scheme):
    """Rotary positions (2104.09864), in the convention of halves: features i and i + K/2 are
    rotated together, by base^(-2i/K) radians a token.
    """

    base: float = setting("slowest wavelength, over 2 pi", 10_000.0, low=1.0)
    window_base: float | None = setting(
        "base of layers with a window, unscaled; None: as all", None, low=1.0
    )
    share: float = setting("of a head's features that turn: the first ones", 1.0, low=0.0, high=1.0)
    scaling: Unscaled | LinearScaling | Llama3 = choice(
        "how longer sequences are reached than positions were trained on", SCALINGS, Unscaled()
    )

    def check(self, sizes: Sizes) -> None:
        """Raises UserError where an odd number of features would be rotated."""
        if sizes.head_dim % 2 and self.share == 1:
            raise UserError(
                f"rotary positions need an even width / heads or head_dim, not {sizes.head_dim}"
            )
        if int(self.share * sizes.head_dim) % 2:
            raise UserError(
                f"positions.share {self.share} of {sizes.head_dim} features is odd; change it"
            )

    def rates(self, pairs: int, *, windowed: bool = False) -> Array:
        """Radians a token f32[pairs]: base^(-i/pairs), scaled."""
        has_window_base = windowed and self.window_base is not None
        base = self.window_base if has_window_base else self.base
        assert base is not None
        rates_P = base ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
        return rates_P if has_window_base else self.scaling.scale(rates_P)

    def rotate(self, x_BLHK: Array, positions_BL: Array, *, windowed: bool = False) -> Array:
        """x rotated; angles and their cosines are float32, whatever the dtype of x."""
        features = x_BLHK.shape[-1]
        rotary_features = int(self.share * features)
        half = rotary_features // 2
        rates_P = self.rates(half, windowed=windowed)
        angles = positions_BL[..., None, None].astype(jnp.float32) * rates_P
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        left = x_BLHK[..., :half].astype(jnp.float32)
        right = x_BLHK[..., half:rotary_features].astype(jnp.float32)
        rotated = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
        rotated = rotated.astype(x_BLHK.dtype)
        if rotary_features == features:
            return rotated
        return jnp.concatenate([rotated, x_BLHK[..., rotary_features:]], axis=-1)


@dataclass(frozen=True)
class Learned(Scheme):
    """A learned vector for each position, added to the embeddings (1810.04805)."""

    limits_length: ClassVar[bool] = True
    absolute: ClassVar[bool] = True

    def module(self, sizes: Sizes) -> nn.Module:
        """The table f32[length, D]."""
        assert sizes.length is not None, "resolve the config first"
        return Embedding(sizes.length, sizes.width, part="positions")

    def embed(self, x_BLD: Array, positions_BL: Array, table: Any) -> Array:
        """Adds the rows of the positions."""
        return x_BLD + table(positions_BL)


@dataclass(frozen=True)
class Sinusoidal(Scheme):
    """Fixed sines and cosines, added to the embeddings (1706.03762)."""

    scales_embedding: ClassVar[bool] = True
    absolute: ClassVar[bool] = True

    def check(self, sizes: Sizes) -> None:
        """Raises UserError for an odd width."""
        if sizes.width % 2:
            raise UserError(f"sinusoidal positions need an even width, not {sizes.width}")

    def embed(self, x_BLD: Array, positions_BL: Array, table: Any) -> Array:
        """Adds entries between -1 and 1."""
        return x_BLD + sinusoidal(positions_BL, x_BLD.shape[-1]).astype(x_BLD.dtype)


@dataclass(frozen=True)
class Alibi(Scheme):
    """A penalty on scores that grows with distance, with a slope for each head (2108.12409)."""

    def bias(self, distance_LM: Array, heads: int, table: Any) -> Array:
        """-slope * |distance|."""
        return alibi_bias(distance_LM, heads)


@dataclass(frozen=True)
class Relative(Scheme):
    """A learned number for each head and bucket of distances, added to scores (T5, 1910.10683).
    Raises UserError for numbers of buckets that do not work.
    """

    buckets: int = setting("buckets of distances", 32, low=4)
    reach: int = setting("distance from which on all are in one bucket", 128, low=2, high=2**20)

    def __post_init__(self) -> None:
        if self.buckets % 4 or self.reach <= self.buckets // 2:
            raise UserError(
                f"buckets {self.buckets} must be a multiple of 4, and reach {self.reach} more than "
                "half of them"
            )

    def module(self, sizes: Sizes) -> nn.Module:
        """The table f32[buckets, H]."""
        return RelativeBias(sizes.heads, sizes.bidirectional, self.buckets, self.reach)

    def bias(self, distance_LM: Array, heads: int, table: Any) -> Array:
        """The number of each distance's bucket."""
        return table(distance_LM)


SCHEMES: dict[str, type[Scheme]] = {
    "rotary": Rotary,
    "learned": Learned,
    "sinusoidal": Sinusoidal,
    "alibi": Alibi,
    "relative": Relative,
    "none": Scheme,
}


def positions_setting(default: Scheme, read_with: Condition | None = None) -> Any:
    """The `positions` field of a family."""
    return choice("how order is seen", SCHEMES, default, outside="POSITIONS", read_with=read_with)


def alibi_slopes(heads: int) -> list[float]:
    """The slope of each head's bias (2108.12409): 2^(-8i/H) for i = 1 .. H, H a power of two.

    Other counts take the slopes of the next lower power of two, then every second slope of the next
    higher one.
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
    and the last has all beyond. With `bidirectional`, keys to the right have the upper half of the
    buckets; without, they are never seen and are in bucket 0.
    """
    side = buckets // 2 if bidirectional else buckets
    exact, steps = side // 2, np.arange(reach + 1)
    growth = np.log(np.maximum(steps, exact) / exact) / np.log(reach / exact) * (side - exact)
    # `growth` is a whole number at the first distance of a bucket; 1e-9 keeps its rounding from
    # moving that distance into the bucket below.
    of_step = jnp.asarray(
        np.where(steps < exact, steps, exact + growth + 1e-9).clip(max=side - 1), jnp.int32
    )
    far = jnp.abs(distances) if bidirectional else jnp.maximum(distances, 0)
    upper = jnp.where(distances < 0, side, 0) if bidirectional else 0
    return of_step[jnp.minimum(far, reach)] + upper


class RelativeBias(nn.Module):
    """T5's bias of the scores, learned for each head and bucket of distances: f32[1 H L M] of
    distance_LM.

    It is looked up once for each distance and copied along the diagonals, so that its gradient is a
    sum, not a scatter.
    """

    heads: int
    bidirectional: bool = False
    buckets: int = 32
    reach: int = 128

    @nn.compact
    def __call__(self, distance_LM: Array) -> Array:
        queries, keys = distance_LM.shape
        distances = distance_LM[0, 0] + queries - 1 - jnp.arange(queries + keys)
        table = Embedding(self.buckets, self.heads, part="positions", name="table")
        ids = relative_buckets(
            distances, bidirectional=self.bidirectional, buckets=self.buckets, reach=self.reach
        )
        return _along_diagonals(table(ids).astype(jnp.float32).T, queries, keys)[None]


def _along_diagonals(values_HP: Array, queries: int, keys: int) -> Array:
    """[H L M] whose entry (l, m) is values[:, L - 1 - l + m], of P = L + M values.

    Copies of the values, read in rows of P - 1 entries, begin one entry earlier in each row.
    """
    heads, count = values_HP.shape
    copies_HP = jnp.broadcast_to(values_HP[:, None], (heads, queries + 1, count)).reshape(heads, -1)
    rows = copies_HP[:, queries - 1 : queries - 1 + queries * (count - 1)].reshape(
        heads, queries, count - 1
    )
    return rows[..., :keys]
