"""How text runs through a recurrence or a convolution: where it begins anew, and what is padding."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.linear import bias_param, inner_param
from lm_lab.nn.sight import generating
from lm_lab.types import Inputs


class Flow(NamedTuple):
    """What every layer is told of each token."""

    # bool[1|B, L], True where the state before it is of another segment, or there is none
    begins_BL: Array
    live_BL: (
        Array | None
    )  # bool[B, L], False for padding, which leaves a state as it is; None: there is none
    linked: (
        Array | None
    )  # bool[W - 1, B, L]: of this token's segment is the one W - 1, ..., 1 before it; None: all


class Course(nn.Module):
    """The flow of a call, for layers whose convolutions reach over `taps` tokens, W.

    Where the model generates (nn/sight.py), the segments that were last are held in the cache.
    """

    taps: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Flow:
        rows, length = inputs.tokens.shape
        slots_L, segments = jnp.arange(length), inputs.segments
        if segments is None and not generating(self):
            return Flow(slots_L[None] == 0, None, None)
        segments = jnp.ones_like(inputs.tokens) if segments is None else segments
        last_B, tail = jnp.zeros(rows, jnp.int32), jnp.zeros((rows, self.taps - 1), jnp.int32)
        if generating(self):
            held_last = self.variable("cache", "last", jnp.zeros, last_B.shape, jnp.int32)
            held_tail = self.variable("cache", "tail", jnp.zeros, tail.shape, jnp.int32)
            last_B, tail = held_last.value, held_tail.value
        begins_BL, last_B = begins(segments, last_B)
        known = jnp.concatenate([tail, segments], axis=1)
        if generating(self):
            held_last.value, held_tail.value = last_B, known[:, length:]
        linked = [known[:, back : back + length] == segments for back in range(self.taps - 1)]
        return Flow(begins_BL, segments > 0, jnp.stack(linked) if linked else None)


def begins(segments_BL: Array, last_B: Array) -> tuple[Array, Array]:
    """(bool[B L], True where a segment begins; the last segment [B] that is no padding), `last`
    being that before.
    """
    all_BM = jnp.concatenate([last_B[:, None], segments_BL], axis=1)
    newest_BM = jax.lax.cummax(jnp.where(all_BM > 0, jnp.arange(all_BM.shape[1]), 0), axis=1)
    last_BM = jnp.take_along_axis(all_BM, newest_BM, axis=1)
    return (segments_BL > 0) & (segments_BL != last_BM[:, :-1]), last_BM[:, -1]


class CausalConvolution(nn.Module):
    """Each feature of x[B L D] is mixed with those of its segment at the W - 1 places before: [B L
    D].

    The weights are f32[D, W], the newest token's last. Elementwise, for W is small: a convolution
    primitive is slower.
    """

    taps: int
    bias: bool = True

    @nn.compact
    def __call__(self, x_BLD: Array, flow: Flow) -> Array:
        length, features = x_BLD.shape[1:]
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=1, out_axis=0)
        weights = inner_param(self, "taps", init, features, self.taps).astype(x_BLD.dtype)
        tail = jnp.zeros((x_BLD.shape[0], self.taps - 1, features), x_BLD.dtype)
        if generating(self):
            held = self.variable("cache", "tail", jnp.zeros, tail.shape, tail.dtype)
            tail = held.value
        known = jnp.concatenate([tail, x_BLD], axis=1)
        if generating(self):
            held.value = known[:, length:]
        y_BLD = x_BLD * weights[:, -1]
        for back in range(self.taps - 1):
            weighted = known[:, back : back + length] * weights[:, back]
            y_BLD += (
                weighted
                if flow.linked is None
                else jnp.where(flow.linked[back][..., None], weighted, 0)
            )
        return (
            y_BLD + bias_param(self, features, "inner").astype(x_BLD.dtype) if self.bias else y_BLD
        )
