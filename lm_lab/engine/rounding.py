"""How what a step computes in float32 is rounded to the dtype in which it is kept."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.types import PyTree

# (new tree, the tree whose dtypes it takes, the step's key) -> the new tree in these dtypes
Rounding = Callable[[PyTree, PyTree, Array], PyTree]


def nearest(new: PyTree, old: PyTree, key: Array) -> PyTree:
    """To the nearest value: an update below 2^-9 of a bfloat16 parameter is lost."""
    del key
    return jax.tree.map(lambda new, old: new.astype(old.dtype), new, old)


def stochastic(new: PyTree, old: PyTree, key: Array) -> PyTree:
    """To one of the two neighbours in bfloat16, each the likelier the nearer it is, so that the
    mean is the value itself and small updates add up (2010.06192). Other dtypes as `nearest`.
    """
    leaves, treedef = jax.tree.flatten(new)
    key = jax.random.fold_in(key, 2)  # as the third key into which the step splits its own
    olds, keys = treedef.flatten_up_to(old), jax.random.split(key, max(1, len(leaves)))
    rounded = [
        _either(leaf, key)
        if (leaf.dtype, kept.dtype) == (jnp.float32, jnp.bfloat16)
        else leaf.astype(kept.dtype)
        for leaf, kept, key in zip(leaves, olds, keys)
    ]
    return treedef.unflatten(rounded)


def _either(x: Array, key: Array) -> Array:
    """A bfloat16 is the upper half of a float32: 16 random bits are added to the lower half, which
    carry into the upper one as often as they should, and are cut off.
    """
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    bits = (lax.bitcast_convert_type(x, jnp.uint32) + noise) & jnp.uint32(0xFFFF0000)
    moved = lax.bitcast_convert_type(bits, jnp.float32)
    return jnp.where(jnp.isfinite(x), moved, x).astype(jnp.bfloat16)


ROUNDINGS: Mapping[str, Rounding] = {"nearest": nearest, "stochastic": stochastic}
