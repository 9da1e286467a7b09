"""The "cache" collection, in which decoding keeps keys, values and states of earlier tokens."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax


def is_decoding(module: nn.Module) -> bool:
    """Whether this call continues from the module's cache and updates it: the "cache" collection is
    mutable.
    """
    return module.is_mutable_collection("cache") and not module.is_initializing()


def update_cache(
    cached: Array, new: Array, start: Array, window: int | None, axis: int = 1
) -> tuple[Array, Array]:
    """(what queries see, the next cache) of M cached slots and L new ones along `axis`.

    The new ones are written from slot `start` on. With a window whose cache is full, the cache
    moves left instead, and queries see the old and the new slots concatenated.
    """
    capacity, new = cached.shape[axis], new.astype(cached.dtype)
    if window is None or capacity < window:
        cached = lax.dynamic_update_slice_in_dim(cached, new, start, axis)
        return cached, cached
    visible = jnp.concatenate([cached, new], axis)
    return visible, lax.slice_in_dim(visible, visible.shape[axis] - capacity, None, axis=axis)
