"""Which keys a query sees: the mask, and the cached keys while decoding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.cache import is_decoding, update_cache
from lm_lab.nn.segments import SegmentInfo, segment_ids
from lm_lab.types import Inputs, PyTree, Scope


class AttentionInfo(NamedTuple):
    """What the attention layers of a model share in one call.

    A slot is an index in the row that counts padding too. The M keys are the L tokens of the call;
    while decoding, those of the cache and of the call.
    """

    # bool[1|B, 1, L, M], True where a query (row) sees a key; None: the query sees all that the
    # layer's scope and window allow
    mask: Array | None
    positions_BL: Array  # i32[1|B, L]
    distance_LM: Array  # i32[L, M]: the slot of the query less that of the key
    start: Array | None  # i32[]: slots filled by earlier calls; None: not decoding
    segments: SegmentInfo
    # i32[B, L]: segment ids, set only if the mask is causal within segments, so that kernels can
    # build it themselves
    causal_segments_BL: Array | None = None


def make_mask(
    distance_LM: Array,
    segments_BL: Array | None,
    segments_BM: Array | None,
    *,
    scope: Scope = "causal",
    window: int | None = None,
    prefix_BM: Array | None = None,
) -> Array:
    """bool[1|B, 1, L, M], True where a query (row) sees a key (column), which is of its segment.

    A causal query sees itself and earlier keys, with a window (2004.05150) the last `window` of
    them; a bidirectional one sees all keys less than a window away. Keys of the prefix are seen by
    every query of their segment (1910.10683).
    """
    mask = distance_LM >= 0 if scope == "causal" else jnp.ones(distance_LM.shape, bool)
    if window is not None:
        mask &= jnp.abs(distance_LM) < window
    mask = mask[None, None]
    if prefix_BM is not None:
        mask = mask | prefix_BM[:, None, None, :]
    if segments_BL is not None and segments_BM is not None:
        mask = mask & (segments_BL[:, None, :, None] == segments_BM[:, None, None, :])
    return mask


def bidirectional_info(inputs: Inputs, window: int | None = None) -> AttentionInfo:
    """An encoder's attention: every token sees its whole segment, or the part of it less than a
    window away. Nothing is cached.
    """
    slots_L = jnp.arange(inputs.tokens.shape[1])
    distance_LM = slots_L[:, None] - slots_L
    ids = inputs.segments
    mask = None
    if ids is not None or window is not None:
        mask = make_mask(distance_LM, ids, ids, scope="bidirectional", window=window)
    positions = slots_L[None] if inputs.positions is None else inputs.positions
    return AttentionInfo(mask, positions, distance_LM, None, segment_ids(inputs))


class CausalInfo(nn.Module):
    """Every token sees itself and the earlier tokens of its segment; while decoding, also those of
    earlier calls.

    The first call sets the size of the cache: its number of tokens, at most the window.
    """

    window: int | None = None

    @nn.compact
    def __call__(self, inputs: Inputs) -> AttentionInfo:
        return self._cached(inputs) if is_decoding(self) else self._uncached(inputs)

    def _uncached(self, inputs: Inputs) -> AttentionInfo:
        ids, prefix = inputs.segments, inputs.prefix
        slots_L = jnp.arange(inputs.tokens.shape[1])
        positions = slots_L[None] if inputs.positions is None else inputs.positions
        distance_LM = slots_L[:, None] - slots_L
        mask = None
        if ids is not None or prefix is not None:
            mask = make_mask(distance_LM, ids, ids, window=self.window, prefix_BM=prefix)
        causal = ids if prefix is None else None
        return AttentionInfo(mask, positions, distance_LM, None, segment_ids(inputs), causal)

    def _cached(self, inputs: Inputs) -> AttentionInfo:
        rows, length = inputs.tokens.shape
        slots_L, ids = jnp.arange(length), inputs.segments
        ids = jnp.ones_like(inputs.tokens) if ids is None else ids
        capacity = min(length, self.window or length)
        filled = self.variable("cache", "start", jnp.zeros, (), jnp.int32)
        cached_ids = self.variable("cache", "segments", jnp.zeros, (rows, capacity), jnp.int32)
        start, capacity = filled.value, cached_ids.value.shape[1]
        key_ids_BM, cached_ids.value = update_cache(cached_ids.value, ids, start, self.window)
        prefix = None
        if inputs.prefix is not None or self.has_variable("cache", "prefix"):
            new = jnp.zeros_like(ids, bool) if inputs.prefix is None else inputs.prefix
            cached = self.variable("cache", "prefix", jnp.zeros, (rows, capacity), bool)
            prefix, cached.value = update_cache(cached.value, new, start, self.window)
        filled.value += length
        keys = key_ids_BM.shape[1]
        first_key = start - capacity if keys > capacity else 0
        distance_LM = start + slots_L[:, None] - (first_key + jnp.arange(keys))
        positions = start + slots_L[None] if inputs.positions is None else inputs.positions
        mask = make_mask(distance_LM, ids, key_ids_BM, window=self.window, prefix_BM=prefix)
        return AttentionInfo(mask, positions, distance_LM, start, SegmentInfo(ids, ids == 0))


def nearer(cache: PyTree, window: int, rotate: Callable[[Array, Array], Array]) -> PyTree:
    """A full cache of `window` keys that goes on as this one does: once more than 2 `window` tokens
    went before, its keys are turned back, as if `window` had. Angles at high positions are rounded
    too much: to 1/4 rad a token at 4 million.

    rotate(keys [... K], positions i32[1 1]) turns by an angle that is proportional to the position.
    A key is turned back once at most.
    """
    start = cache["causal_info"]["start"]
    back = jnp.where(start > 2 * window, start - window, 0)

    def moved(path: Any, leaf: Array) -> Array:
        if path[-1].key == "start":
            return leaf - back
        return rotate(leaf, jnp.reshape(-back, (1, 1))) if path[-1].key == "keys" else leaf

    return jax.tree_util.tree_map_with_path(moved, cache)
