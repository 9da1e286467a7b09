"""Token mixers with a state of constant size: Mamba's and Griffin's.

A state is float32 whatever the dtype of the stream. It is reset at the start of a segment, and
padding does not change it. While decoding, it is in the cache.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.cache import is_decoding
from lm_lab.nn.convolution import CausalConvolution
from lm_lab.nn.feed_forward import gelu
from lm_lab.nn.linear import BlockLinear, Linear, inner_param
from lm_lab.nn.scans import Kernel, Tokens, linear_scan, selective_scan
from lm_lab.nn.segments import SegmentInfo
from lm_lab.nn.splits import along_length

STEPS = (1e-3, 1e-1)  # initial step sizes of Mamba, drawn log-uniformly
RETENTION = (
    0.9,
    0.999,
)  # of the RG-LRU at first, for a gate of 1/8; its square is drawn uniformly
SHARPNESS = 8.0  # the RG-LRU's c: a fully open gate retains the c-th power of that
STEEPEST = 1000.0  # bound of the slope of sqrt(1 - a^2), which is infinite at a = 1


def _state_before(module: nn.Module, *shape: int) -> Array:
    if not is_decoding(module):
        return jnp.zeros(shape, jnp.float32)
    return module.variable("cache", "state", jnp.zeros, shape, jnp.float32).value


def _cache_state(module: nn.Module, state: Array) -> None:
    if is_decoding(module):
        module.put_variable("cache", "state", state)


def _log_counts(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """log 1, ..., log S in every row: the real part of S4D's rates."""
    del key
    return jnp.broadcast_to(jnp.log(jnp.arange(1, shape[1] + 1, dtype=dtype)), shape)


def _inverse_softplus(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    steps = jnp.exp(jax.random.uniform(key, shape, dtype, *map(math.log, STEPS)))
    return steps + jnp.log(-jnp.expm1(-steps))


class Selective(nn.Module):
    """Mamba's mixer (2312.00752): [B L D] -> [B L D] by `inner` features with a state of S numbers
    each.

    Step size, input matrix B and output matrix C depend on the token. `scale` multiplies the
    initial standard deviation of the output projection.
    """

    inner: int
    state: int  # S
    rank: int  # of the step sizes
    kernel_size: int
    scale: float
    kernel: Kernel
    bias: bool = False
    conv_bias: bool = True

    @nn.compact
    def __call__(self, x_BLD: Array, segments: SegmentInfo) -> Array:
        gate = nn.silu(
            Linear(self.inner, "expand", bias=self.bias, part="recurrent", name="gate")(x_BLD)
        )
        x = Linear(self.inner, "expand", bias=self.bias, part="recurrent", name="input")(x_BLD)
        x = nn.silu(
            CausalConvolution(self.kernel_size, self.conv_bias, name="convolution")(x, segments)
        )
        selected = Linear(self.rank + 2 * self.state, "contract", part="recurrent", name="select")(
            x
        )
        step, write, read = jnp.split(selected, [self.rank, self.rank + self.state], axis=-1)
        y = self._scan(x, step, write, read, segments)
        return Linear(x_BLD.shape[-1], "contract", self.scale, self.bias, "recurrent", name="out")(
            y.astype(x.dtype) * gate
        )

    def _scan(
        self, x: Array, step: Array, write: Array, read: Array, segments: SegmentInfo
    ) -> Array:
        """f32[B L inner]."""
        raw = Linear(self.inner, "expand", 3**-0.5, part="recurrent", name="step")(step).astype(
            jnp.float32
        )
        raw += inner_param(self, "step_bias", _inverse_softplus, self.inner).astype(jnp.float32)
        rates = inner_param(self, "log_rates", _log_counts, self.inner, self.state).astype(
            jnp.float32
        )
        skip = inner_param(self, "skip", nn.initializers.ones, self.inner).astype(jnp.float32)
        step = nn.softplus(raw)
        if segments.padding_BL is not None:
            step = jnp.where(segments.padding_BL[..., None], 0, step)
        assert segments.resets_BL is not None
        keep = jnp.broadcast_to(1.0 - segments.resets_BL, x.shape[:2])
        x, write, read = (y.astype(jnp.float32) for y in (x, write, read))
        start = _state_before(self, x.shape[0], self.state, self.inner)
        scan, tokens = partial(_selective, self.kernel), Tokens(x, step, write, read, keep)
        y, end = along_length(scan, _selective_decay, -jnp.exp(rates).T, start, *tokens)
        _cache_state(self, end)
        return y + skip * x


def _selective(
    kernel: Kernel, rates_SD: Array, start_BSD: Array, *tokens: Array
) -> tuple[Array, Array]:
    return selective_scan(kernel, rates_SD, start_BSD, Tokens(*tokens))


def _selective_decay(rates_SD: Array, *tokens: Array) -> Array:
    """The factor f32[B S D] of all tokens together."""
    of = Tokens(*tokens)
    return of.keep.prod(1)[:, None, None] * jnp.exp(of.step.sum(1)[:, None] * rates_SD)


def _linear(
    kernel: Kernel, shared: tuple[()], start_BD: Array, a_BLD: Array, u_BLD: Array
) -> tuple[Array, Array]:
    del shared
    h_BLD = linear_scan(kernel, a_BLD, u_BLD, start_BD)
    return h_BLD, h_BLD[:, -1]


def _linear_decay(shared: tuple[()], a_BLD: Array, u_BLD: Array) -> Array:
    del shared, u_BLD
    return a_BLD.prod(1)


@jax.custom_jvp
def root(x: Array) -> Array:
    """The square root, with a slope of at most STEEPEST."""
    return jnp.sqrt(x)


@root.defjvp
def _root_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return root(x), dx / jnp.sqrt(jnp.maximum(4 * x, STEEPEST**-2))


def _retentive(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Initial p, with softplus(p) = -log of the retention."""
    low, high = (bound**2 for bound in RETENTION)
    retained = jnp.sqrt(jax.random.uniform(key, shape, dtype, low, high))
    return jnp.log(1 / retained - 1)


class GatedRecurrence(nn.Module):
    """The real-gated linear recurrent unit of Griffin (2402.19427): [B L D] -> [B L D], as
    RecurrentGemma has it.

    a = exp(-8 softplus(p) r) with r, and the gate of the input, from block-diagonal products;
    inputs are weighted by sqrt(1 - a^2), the first of a segment by 1.
    """

    blocks: int
    kernel: Kernel

    @nn.compact
    def __call__(self, x_BLD: Array, segments: SegmentInfo) -> Array:
        input_gate = nn.sigmoid(
            BlockLinear(self.blocks, "recurrent", name="input_gate")(x_BLD).astype(jnp.float32)
        )
        decay = nn.sigmoid(
            BlockLinear(self.blocks, "recurrent", name="decay_gate")(x_BLD).astype(jnp.float32)
        )
        rates = inner_param(self, "rates", _retentive, x_BLD.shape[-1]).astype(jnp.float32)
        log_a = -SHARPNESS * decay * nn.softplus(rates)
        assert segments.resets_BL is not None
        resets = segments.resets_BL[..., None]
        weight = jnp.where(resets, 1, root(-jnp.expm1(2 * log_a)))
        u = weight * input_gate * x_BLD.astype(jnp.float32)
        a = jnp.where(resets, 0, jnp.exp(log_a))
        if segments.padding_BL is not None:
            padding = segments.padding_BL[..., None]
            a, u = jnp.where(padding, 1, a), jnp.where(padding, 0, u)
        start = _state_before(self, x_BLD.shape[0], x_BLD.shape[-1])
        h_BLD, end = along_length(partial(_linear, self.kernel), _linear_decay, (), start, a, u)
        _cache_state(self, end)
        return h_BLD.astype(x_BLD.dtype)


class Recurrent(nn.Module):
    """Griffin's recurrent block (2402.19427): [B L D] -> [B L D] by `inner` features; `scale`
    multiplies the initial standard deviation of the output projection.
    """

    inner: int
    blocks: int
    kernel_size: int
    scale: float
    kernel: Kernel
    bias: bool = False
    conv_bias: bool = True

    @nn.compact
    def __call__(self, x_BLD: Array, segments: SegmentInfo) -> Array:
        gate = gelu(
            Linear(self.inner, "expand", bias=self.bias, part="recurrent", name="gate")(x_BLD)
        )
        x = Linear(self.inner, "expand", bias=self.bias, part="recurrent", name="input")(x_BLD)
        x = CausalConvolution(self.kernel_size, self.conv_bias, name="convolution")(x, segments)
        h = GatedRecurrence(self.blocks, self.kernel, name="unit")(x, segments)
        return Linear(x_BLD.shape[-1], "contract", self.scale, self.bias, "recurrent", name="out")(
            h * gate
        )
