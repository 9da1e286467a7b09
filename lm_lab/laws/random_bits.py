"""Random keys whose bits are a hash of a counter: models that are drawn with them compile in half
the time that JAX's own generators (threefry, rbg) take on a CPU, where compiling is most of the
time that the laws take. Good enough to tell parameters apart; no run draws with them.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import random

GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: multiples of it lie far apart


def key(seed: int) -> Array:
    """A key for all of jax.random."""
    return jax.random.key(seed, impl=GENERATOR)


def _mix(x: Array) -> Array:
    """The finaliser of MurmurHash3: each bit of u32 moves about half of the others."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _counted(key: Array, count: int) -> Array:
    """u32[count] of a key."""
    order = jnp.arange(count, dtype=jnp.uint32)
    return _mix(_mix(order * jnp.uint32(GOLDEN) + key[0]) ^ key[1])


def _seed(seed: Any) -> Array:
    return _mix(jnp.arange(1, 3, dtype=jnp.uint32) * jnp.uint32(GOLDEN) + seed.astype(jnp.uint32))


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    return _counted(key, 2 * math.prod(shape)).reshape(*shape, 2)


def _fold_in(key: Array, data: Array | int) -> Array:
    return _mix(key ^ _mix(jnp.asarray(data, jnp.uint32) + jnp.uint32(GOLDEN)))


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    if bit_width == 64:
        return _counted(key, 2 * count).reshape(*shape, 2).view(jnp.uint64)[..., 0]
    return _counted(key, count).astype(f"uint{bit_width}").reshape(shape)


GENERATOR = random.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="counter_hash",
    tag="hash",
)
