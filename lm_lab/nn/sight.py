"""Who sees whom: masks are data, and generation only lengthens what a query may see."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.types import Inputs


class Sight(NamedTuple):
    """What the queries of every layer share. Slots count places of a row, padding included.

    Where a model generates, M keys are those of its cache and of this call; else they are the L
    tokens themselves.
    """

    mask: (
        Array | None
    )  # bool[1|B, 1, L, M], True where a query (row) sees a key; None: the past, of the window
    positions_BL: Array  # i32[1|B, L]
    distance_LM: Array  # i32[L, M]: the slot of the query less that of the key
    start: Array | None  # i32[]: slots filled by earlier calls, where the model generates
    real_BL: Array | None = None  # bool[B, L], False for padding; None: no token is
    own_BL: Array | None = (
        None  # i32[B, L], the segments, where all that the mask adds to None is that they differ
    )


def make_mask(
    distance_LM: Array,
    segments_BL: Array | None,
    segments_BM: Array | None,
    *,
    sees: str = "past",
    window: int | None = None,
    prefix_BM: Array | None = None,
) -> Array:
    """bool[1|B, 1, L, M], True where a query (row) may see a key (column): of its own segment, and
    "all" or the "past".

    Of the past a query sees itself and, with a window (2004.05150), the window - 1 keys before it;
    of all, those less than a window away. Keys of the prefix are seen by every query of their
    segment (1910.10683).
    """
    mask = distance_LM >= 0 if sees == "past" else jnp.ones(distance_LM.shape, bool)
    if window is not None:
        mask &= jnp.abs(distance_LM) < window
    mask = mask[None, None]
    if prefix_BM is not None:
        mask = mask | prefix_BM[:, None, None, :]
    if segments_BL is not None and segments_BM is not None:
        mask = mask & (segments_BL[:, None, :, None] == segments_BM[:, None, None, :])
    return mask


def everything(inputs: Inputs, window: int | None = None) -> Sight:
    """Every token of a segment sees all of it, whatever the module of the caller has cached: the
    encoder's sight. With a window, it sees what is less than that away.

    Without segments and window there is no mask: for attention that sees all.
    """
    slots_L = jnp.arange(inputs.tokens.shape[1])
    distance_LM = slots_L[:, None] - slots_L
    segments = inputs.segments
    plain = segments is None and window is None
    mask = None if plain else make_mask(distance_LM, segments, segments, sees="all", window=window)
    positions = slots_L[None] if inputs.positions is None else inputs.positions
    return Sight(
        mask, positions, distance_LM, None, None if inputs.segments is None else inputs.segments > 0
    )


class Timeline(nn.Module):
    """Where a call stands in its row, for every layer at once; where the "cache" is mutable, after
    earlier calls.

    A cache is made by a call on as many tokens as it is to hold. With a window it holds no more
    than that.
    """

    window: int | None = None

    @nn.compact
    def __call__(self, inputs: Inputs) -> Sight:
        length = inputs.tokens.shape[1]
        slots_L, segments = jnp.arange(length), inputs.segments
        if not generating(self):
            positions = slots_L[None] if inputs.positions is None else inputs.positions
            distance_LM = slots_L[:, None] - slots_L
            plain, prefix = segments is None and inputs.prefix is None, inputs.prefix
            mask = (
                None
                if plain
                else make_mask(
                    distance_LM, segments, segments, window=self.window, prefix_BM=prefix
                )
            )
            real_BL = None if segments is None else segments > 0
            return Sight(
                mask, positions, distance_LM, None, real_BL, segments if prefix is None else None
            )
        segments = jnp.ones_like(inputs.tokens) if segments is None else segments
        capacity = min(length, self.window or length)
        start = self.variable("cache", "start", jnp.zeros, (), jnp.int32)
        known = self.variable(
            "cache", "segments", jnp.zeros, (inputs.tokens.shape[0], capacity), jnp.int32
        )
        begin, (keys_BM, known.value) = (
            start.value,
            remember(known.value, segments, start.value, self.window),
        )
        prefix = None
        if inputs.prefix is not None or self.has_variable("cache", "prefix"):
            given = jnp.zeros_like(segments, bool) if inputs.prefix is None else inputs.prefix
            held = self.variable("cache", "prefix", jnp.zeros, known.value.shape, bool)
            prefix, held.value = remember(held.value, given, begin, self.window)
        start.value += length
        first = begin - known.value.shape[1] if keys_BM.shape[1] > known.value.shape[1] else 0
        distance_LM = begin + slots_L[:, None] - (first + jnp.arange(keys_BM.shape[1]))
        positions = begin + slots_L[None] if inputs.positions is None else inputs.positions
        mask = make_mask(distance_LM, segments, keys_BM, window=self.window, prefix_BM=prefix)
        return Sight(mask, positions, distance_LM, begin, segments > 0)


def generating(module: nn.Module) -> bool:
    """Whether this call goes on from, and adds to, what the module has cached."""
    return module.is_mutable_collection("cache") and not module.is_initializing()


def remember(
    held: Array, new: Array, start: Array, window: int | None, axis: int = 1
) -> tuple[Array, Array]:
    """(what queries see, what is held from now on) of M slots held and L new ones, along an axis:
    [B M ...], [B L ...].

    The new is written at slot `start`. What is held of a full window moves to the left instead, and
    the queries see the old and the new one after another.
    """
    capacity, new = held.shape[axis], new.astype(held.dtype)
    if window is None or capacity < window:
        held = lax.dynamic_update_slice_in_dim(held, new, start, axis)
        return held, held
    seen = jnp.concatenate([held, new], axis)
    return seen, lax.slice_in_dim(seen, seen.shape[axis] - capacity, None, axis=axis)
