"""Dropout whose mask is that of the whole batch, also where layers see a part of its rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap


class Part(NamedTuple):
    """The rows of a batch that layers see in a call."""

    rows: int  # of the whole batch
    of: Callable[[Array], Array]  # an array [rows ...] -> that of the part


class Group(NamedTuple):
    """One of equal groups of the rows of a batch, over which layers are in a vmap."""

    groups: int
    number: Array  # i32[], from 0


_part: ContextVar[Part | None] = ContextVar("part", default=None)
_group: ContextVar[Group | None] = ContextVar("group", default=None)


@contextmanager
def seeing(part: Part) -> Iterator[None]:
    """The context in which layers are traced that see a part of the batch."""
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


@contextmanager
def of_group(groups: int, number: Array) -> Iterator[None]:
    """The context in which layers are traced in a vmap over groups of rows, with the group's number
    i32[].
    """
    token = _group.set(Group(groups, number))
    try:
        yield
    finally:
        _group.reset(token)


def is_kept(key: Array, probability: float | Array, shape: tuple[int, ...], rows: int = 0) -> Array:
    """bool[shape], True with this probability, of which the axis `rows` is that of rows: of a part
    of a batch it is the mask that the whole batch has there.
    """
    part = _part.get()
    if part is None:
        return _drawn(key, probability, shape, rows)
    whole = _drawn(key, probability, (*shape[:rows], part.rows, *shape[rows + 1 :]), rows)
    return jnp.moveaxis(part.of(jnp.moveaxis(whole, rows, 0)), 0, rows)


def _drawn(key: Array, probability: float | Array, shape: tuple[int, ...], rows: int) -> Array:
    """The mask of a batch, or of a group of its rows."""
    group = _group.get()
    if group is None:
        return jax.random.bernoulli(key, probability, shape)
    masks = _masks_of_groups(group.groups, shape, rows)
    probability = lax.stop_gradient(jnp.asarray(probability, jnp.float32))
    return masks(group.number, key[None], probability[None])[0]


def _masks_of_groups(groups: int, shape: tuple[int, ...], rows: int) -> Callable[..., Array]:
    """(group i32[], keys [n], probabilities f32[n]) -> the group's part bool[n, *shape] of n masks.

    Under the vmap over groups the masks of all rows are drawn and divided, so that each device
    draws its own; picking a part of the whole would have each draw all.
    """
    whole = (*shape[:rows], groups, *shape[rows:])  # group and rows, to be drawn as one axis

    def divided(keys: Array, probabilities: Array) -> Array:
        flat = (*shape[:rows], groups * shape[rows], *shape[rows + 1 :])
        drawn = jax.vmap(lambda key, kept: jax.random.bernoulli(key, kept, flat))
        masks = drawn(keys, probabilities).reshape(len(keys), *whole)
        return jnp.moveaxis(masks, rows + 1, 0)

    @custom_vmap
    def masks(group: Array, keys: Array, probabilities: Array) -> Array:
        return divided(keys, probabilities)[group]

    @masks.def_vmap
    def rule(size: int, is_batched: list[bool], group: Array, *drawn: Array):
        if is_batched[0]:
            assert not any(is_batched[1:])  # groups share their keys
            return divided(*drawn), True
        more = [
            x if has else jnp.broadcast_to(x, (size, *x.shape))
            for x, has in zip(drawn, is_batched[1:])
        ]
        flat = [x.reshape(-1) for x in more]
        return masks(group, *flat).reshape(size, -1, *shape), True

    return masks


class Dropout(nn.Module):
    """[B ...] -> [B ...]: features are 0 with probability `rate`, and the others divided by
    1 - rate (1207.0580). It has the bits of Linen's own `Dropout`.
    """

    rate: float
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: Array, deterministic: bool | None = None) -> Array:
        if self.rate == 0.0 or nn.merge_param("deterministic", self.deterministic, deterministic):
            return x
        kept = is_kept(self.make_rng("dropout"), 1.0 - self.rate, x.shape)
        return lax.select(kept, x / (1.0 - self.rate), jnp.zeros_like(x))
