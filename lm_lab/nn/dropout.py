"""Dropout whose mask is that of the whole batch, also where layers see a part of its rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax


class Part(NamedTuple):
    """The rows of a batch that layers see in a call."""

    rows: int  # of the whole batch
    of: Callable[[Array], Array]  # an array [rows ...] -> that of the part


_part: ContextVar[Part | None] = ContextVar("part", default=None)


@contextmanager
def seeing(part: Part) -> Iterator[None]:
    """The context in which layers are traced that see a part of the batch."""
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


def is_kept(key: Array, probability: float | Array, shape: tuple[int, ...], rows: int = 0) -> Array:
    """bool[shape], True with this probability, of which the axis `rows` is that of rows: of a part
    of a batch it is the mask that the whole batch has there.
    """
    part = _part.get()
    if part is None:
        return jax.random.bernoulli(key, probability, shape)
    whole = jax.random.bernoulli(key, probability, (*shape[:rows], part.rows, *shape[rows + 1 :]))
    return jnp.moveaxis(part.of(jnp.moveaxis(whole, rows, 0)), 0, rows)


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
