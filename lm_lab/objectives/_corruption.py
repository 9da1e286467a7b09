"""Shared by objectives that hide a part of a text. Functions of one row: callers vmap over rows."""

import jax
import jax.numpy as jnp
from jax import Array, lax


def row_keys(key: Array, rows: int) -> Array:
    """One key for each row."""
    return jax.random.split(key, rows)


def within_segments(noise_L: Array, segments_L: Array) -> tuple[Array, Array]:
    """(bool[L], True where hidden; bool[L], True where a hidden span begins) of drawn spans
    `noise_L`, cut where a segment ends. Padding is not hidden.
    """
    begins_L = noise_L & ~jnp.concatenate([jnp.zeros(1, bool), noise_L[:-1]])
    begin_L = lax.cummax(jnp.where(begins_L, jnp.arange(noise_L.shape[0]), 0))
    real_L = segments_L > 0
    return noise_L & real_L & (segments_L == segments_L[begin_L]), begins_L & real_L


def compact(kept_E: Array, length: int, *columns_E: Array) -> tuple[Array, ...]:
    """The kept entries of each column in order, then zeros, [length]; `length` must be enough for
    all kept entries.
    """
    place_E = jnp.where(kept_E, jnp.cumsum(kept_E) - 1, length)
    return tuple(
        jnp.zeros(length, column.dtype).at[place_E].set(column, mode="drop") for column in columns_E
    )


def interleave(*columns_L: Array) -> Array:
    """[a0 b0 a1 b1 ...]."""
    return jnp.stack(columns_L, axis=1).reshape(-1)
