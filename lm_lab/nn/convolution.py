"""The short causal convolution that stands before a recurrence."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.cache import is_decoding
from lm_lab.nn.linear import bias_param, inner_param
from lm_lab.nn.segments import SegmentInfo


class CausalConvolution(nn.Module):
    """[B L D] -> [B L D]: each feature is a weighted sum over its own last `kernel_size` (W)
    tokens, without those of other segments.

    The weights are f32[D, W], the current token's last. Written as W products and sums, which is
    faster than XLA's convolution for a small W. While decoding, the last W - 1 inputs are cached.
    """

    kernel_size: int
    bias: bool = True

    @nn.compact
    def __call__(self, x_BLD: Array, segments: SegmentInfo) -> Array:
        (rows, length, features), reach = x_BLD.shape, self.kernel_size - 1
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=1, out_axis=0)
        weights = inner_param(self, "taps", init, features, self.kernel_size).astype(x_BLD.dtype)
        tail = jnp.zeros((rows, reach, features), x_BLD.dtype)
        cached_tail = None
        if is_decoding(self):
            cached_tail = self.variable("cache", "tail", jnp.zeros, tail.shape, tail.dtype)
            tail = cached_tail.value
        padded = jnp.concatenate([tail, x_BLD], axis=1)
        if cached_tail is not None:
            cached_tail.value = padded[:, length:]
        y_BLD = x_BLD * weights[:, -1]
        for i in range(reach):
            term = padded[:, i : i + length] * weights[:, i]
            if segments.same_segment_WBL is not None:
                term = jnp.where(segments.same_segment_WBL[i][..., None], term, 0)
            y_BLD += term
        if self.bias:
            y_BLD += bias_param(self, features, "inner", "recurrent").astype(x_BLD.dtype)
        return y_BLD
