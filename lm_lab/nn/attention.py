"""Multi-head attention: masks are data, and one call picks the kernel."""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.nn import fused
from lm_lab.nn.attention_info import AttentionInfo, make_mask
from lm_lab.nn.cache import is_decoding, update_cache
from lm_lab.nn.linear import Linear
from lm_lab.nn.norm import Kind, Norm
from lm_lab.nn.positions import Scheme
from lm_lab.nn.splits import is_split, whole_length
from lm_lab.types import Scope, UserError

Kernel = Literal["auto", "plain", "rows", "cudnn", "tpu"]

# the least queries of a block; smaller blocks, and blocks of shorter texts, are no faster
# (docs/speed.md)
ROWS = 128

NEEDS = {
    "rows": "a model that sees the past alone, and no prefix",
    "cudnn": "an NVIDIA GPU and config.precision.compute bfloat16, and has no softcap",
    "tpu": f"one TPU, lengths that are multiples of {fused.TILE}, and neither a prefix nor "
    "positions alibi or relative",
}


def attend(
    q_BLHK: Array,
    k_BMGK: Array,
    v_BMGK: Array,
    mask: Array | None,
    kernel: Kernel,
    *,
    bias: Array | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    window: int | None = None,
    scope: Scope = "causal",
    segments_BL: Array | None = None,
) -> Array:
    """Scaled dot-product attention (1706.03762) of H heads on G keys and values, each for H / G
    heads (2305.13245).

    mask bool[1|B, 1, L, M]; None if `scope` and `window` say it all: L = M tokens, each of which
    sees its past, the last `window` tokens of it, or all keys; bias f32[1|B, H, L, M] is added to
    the scores, which are multiplied by `scale` (None: K^-1/2) and bounded by `softcap`
    (2408.00118). segments_BL are segment ids, given only if the mask is that of `scope` and
    `window` within each segment. Returns [B L H K]; softmax in float32. "auto" takes splash
    attention on a TPU and cuDNN's kernel for half precision on an NVIDIA GPU, where they can run;
    else "rows" for long texts on a CPU, and "plain", with all scores in memory. Raises UserError
    where the kernel that was asked for cannot run.
    """
    simple, length = mask is None or segments_BL is not None, q_BLHK.shape[1]
    half = q_BLHK.dtype in (jnp.bfloat16, jnp.float16)
    runs = {
        "plain": True,
        "rows": simple and scope == "causal" and length == k_BMGK.shape[1],
        "cudnn": jax.default_backend() == "gpu" and half and softcap is None,
        "tpu": jax.default_backend() == "tpu"
        and simple
        and bias is None
        and fused.fits_splash(length, k_BMGK.shape[1]),
    }
    if kernel == "auto" and is_split("length"):
        kernel = "plain"  # each device has some of the queries, and all keys
    if kernel == "auto":
        fits = runs["cudnn"] and fused.fits_cudnn(
            q_BLHK.shape[-1], length, k_BMGK.shape[1], mask is None and bias is None
        )
        pays = runs["rows"] and jax.default_backend() == "cpu" and length >= 4 * ROWS
        kernel = "tpu" if runs["tpu"] else "cudnn" if fits else "rows" if pays else "plain"
    if not runs[kernel]:
        raise UserError(
            f"config.model.attention_kernel {kernel} needs {NEEDS[kernel]}; choose auto"
        )
    if kernel == "tpu":
        return fused.splash(q_BLHK, k_BMGK, v_BMGK, segments_BL, scale, softcap, window, scope)
    if kernel == "cudnn":
        return fused.cudnn(q_BLHK, k_BMGK, v_BMGK, mask, bias, scale, window, scope)
    if mask is None and scope == "causal":
        slots_L = jnp.arange(length)
        mask = make_mask(slots_L[:, None] - slots_L, None, None, window=window)
    if kernel == "rows":
        assert mask is not None
        return _by_rows(q_BLHK, k_BMGK, v_BMGK, mask, bias, scale, softcap, window or length)
    return _attend(q_BLHK, k_BMGK, v_BMGK, mask, bias, scale, softcap)


def _by_rows(
    q_BLHK: Array,
    k_BLGK: Array,
    v_BLGK: Array,
    mask: Array,
    bias: Array | None,
    scale: float | None,
    softcap: float | None,
    window: int,
) -> Array:
    """The plain kernel on one block of queries after another, each with only the keys in its past
    or window.

    The backward pass computes the scores of a block again, so that the scores of one block alone
    are in memory.
    """
    length = q_BLHK.shape[1]
    size = max(ROWS, -(-length // 8))
    attend_block = jax.checkpoint(partial(_attend, scale=scale, softcap=softcap))
    blocks = []
    for begin in range(0, length, size):
        queries, keys = (
            slice(begin, begin + size),
            slice(max(0, begin - window + 1), min(begin + size, length)),
        )
        block_bias = None if bias is None else bias[:, :, queries, keys]
        block_mask = mask[:, :, queries, keys]
        blocks.append(
            attend_block(
                q_BLHK[:, queries], k_BLGK[:, keys], v_BLGK[:, keys], block_mask, block_bias
            )
        )
    return jnp.concatenate(blocks, axis=1)


def _attend(
    q_BLHK: Array,
    k_BMGK: Array,
    v_BMGK: Array,
    mask: Array | None,
    bias: Array | None,
    scale: float | None,
    softcap: float | None,
) -> Array:
    """The plain kernel, with the scores [B H L M] in memory."""
    heads, groups, keys = q_BLHK.shape[2], k_BMGK.shape[2], k_BMGK.shape[1]
    q_BHLK, k_BHMK, v_BHMK = (x.swapaxes(1, 2) for x in (q_BLHK, k_BMGK, v_BMGK))
    if groups < heads:  # the heads of a group become further queries of one key
        q_BHLK = q_BHLK.reshape(q_BHLK.shape[0], groups, -1, q_BHLK.shape[-1])
    scaled = q_BHLK * (q_BHLK.shape[-1] ** -0.5 if scale is None else scale)
    scores = jnp.einsum("bhqd,bhkd->bhqk", scaled, k_BHMK, preferred_element_type=jnp.float32)
    scores_BHLM = scores.reshape(scores.shape[0], heads, -1, keys)
    scores_BHLM = bounded(scores_BHLM, softcap)
    if bias is not None:
        scores_BHLM += bias
    if mask is not None:
        # Adding the mask fuses better than selecting by it: 1.2 times the whole step at width 128
        # on a CPU.
        scores_BHLM += jnp.where(mask, 0.0, -1e30)
    # Normalising after the product with the values touches K numbers a row instead of M.
    weights_BHLM = jnp.exp(scores_BHLM - lax.stop_gradient(scores_BHLM.max(-1, keepdims=True)))
    total_BHL1 = weights_BHLM.sum(-1, keepdims=True)
    weights = weights_BHLM.astype(v_BHMK.dtype).reshape(scores.shape)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, v_BHMK)
    mixed_BHLK = mixed.reshape(*total_BHL1.shape[:3], -1) / total_BHL1
    return mixed_BHLK.astype(v_BHMK.dtype).swapaxes(1, 2)


def bounded(x: Array, softcap: float | None) -> Array:
    """softcap tanh(x / softcap) (2408.00118), x itself for None."""
    return x if softcap is None else softcap * jnp.tanh(x / softcap)


class AttentionShape(NamedTuple):
    """The shape of attention. A family makes it from those settings that it lets a user choose."""

    heads: int  # H
    head_dim: int  # K
    kv_heads: int | None = None  # G, a divisor of H; None: H
    bias: bool = False  # of query, key and value
    out_bias: bool = False
    norm: Kind | None = None  # of queries and keys, over K (2302.05442)
    norm_whole: bool = False  # over all heads at once instead (2501.00656)
    norm_epsilon: float = 1e-6
    scale: float | None = None  # of the scores; None: K^-1/2
    softcap: float | None = None
    positions: Scheme = Scheme()  # which turns queries and keys
    # tokens that a query sees, and so all that is cached; a mask must say the same
    window: int | None = None


class Attention(nn.Module):
    """Attention of x[B L D] on itself, or on a context [B M D]: [B L D].

    `init_scale` multiplies the initial standard deviation of the output projection. `mask_scope`
    says what a query sees where there is no mask. The query kernel is drawn so that scores have
    unit variance at first. While decoding, keys and values of earlier calls are in the cache; those
    of a context are cached by the call that gives it, and later calls give None.
    """

    shape: AttentionShape
    init_scale: float
    kernel: Kernel
    cross: bool = False
    mask_scope: Scope = "causal"  # Linen has a `scope` of its own

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        info: AttentionInfo,
        bias: Array | None = None,
        context_BMD: Array | None = None,
    ) -> Array:
        shape = self.shape
        unit = 1.0 if shape.scale is None else shape.head_dim**-0.5 / shape.scale
        q_BLHK = self._normed("query", self._project("query", x_BLD, shape.heads, unit))
        if not self.cross:
            q_BLHK = self._rotate(q_BLHK, info)
        k, v = self._context(context_BMD) if self.cross else self._self(x_BLD, info)
        k, v = whole_length(k), whole_length(v)
        mixed_BLHK = attend(
            q_BLHK,
            k,
            v,
            info.mask,
            self.kernel
            if info.start is None or self.kernel == "plain"
            else "auto",  # fused kernels know no cache
            bias=bias,
            scale=shape.scale,
            softcap=shape.softcap,
            window=shape.window,
            scope=self.mask_scope,
            segments_BL=None if self.cross else info.causal_segments_BL,
        )
        mixed = mixed_BLHK.reshape(*x_BLD.shape[:2], -1)
        return Linear(
            x_BLD.shape[-1], "contract", self.init_scale, shape.out_bias, "attention", name="out"
        )(mixed)

    def _self(self, x_BLD: Array, info: AttentionInfo) -> tuple[Array, Array]:
        """Keys and values [B M G K] of x; while decoding, of the tokens before it too."""
        k, v = self._keys_and_values(x_BLD)
        k = self._rotate(k, info)
        if info.start is None:
            return k, v
        capacity = min(k.shape[1], self.shape.window or k.shape[1])
        keys_and_values = []
        for name, new_BLGK in (("keys", k), ("values", v)):
            # Cached as [B G M K], the order in which products with a query read it; [B M G K] would
            # be transposed for every token.
            new_BGLK = new_BLGK.swapaxes(1, 2)
            cached = self.variable(
                "cache", name, jnp.zeros, (*new_BGLK.shape[:2], capacity, k.shape[-1]), k.dtype
            )
            visible_BGMK, cached.value = update_cache(
                cached.value, new_BGLK, info.start, self.shape.window, axis=2
            )
            keys_and_values.append(visible_BGMK.swapaxes(1, 2))
        return keys_and_values[0], keys_and_values[1]

    def _context(self, context_BMD: Array | None) -> tuple[Array, Array]:
        if context_BMD is None:
            k_BGMK, v_BGMK = (
                self.get_variable("cache", "keys"),
                self.get_variable("cache", "values"),
            )
            return k_BGMK.swapaxes(1, 2), v_BGMK.swapaxes(1, 2)
        k, v = self._keys_and_values(context_BMD)
        if is_decoding(self):
            self.put_variable("cache", "keys", k.swapaxes(1, 2))
            self.put_variable("cache", "values", v.swapaxes(1, 2))
        return k, v

    def _keys_and_values(self, x_BMD: Array) -> tuple[Array, Array]:
        groups = self.shape.kv_heads or self.shape.heads
        k, v = (self._project(name, x_BMD, groups) for name in ("key", "value"))
        return self._normed("key", k), v

    def _rotate(self, x_BLHK: Array, info: AttentionInfo) -> Array:
        windowed = self.shape.window is not None
        return self.shape.positions.rotate(x_BLHK, info.positions_BL, windowed=windowed)

    def _normed(self, name: str, x_BLHK: Array) -> Array:
        shape = self.shape
        if shape.norm is None:
            return x_BLHK
        x = x_BLHK.reshape(*x_BLHK.shape[:2], -1) if shape.norm_whole else x_BLHK
        return Norm(shape.norm, shape.norm_epsilon, name=f"{name}_norm")(x).reshape(x_BLHK.shape)

    def _project(self, name: str, x: Array, heads: int, scale: float = 1.0) -> Array:
        shape = self.shape
        y = Linear(heads * shape.head_dim, "expand", scale, shape.bias, "attention", name=name)(x)
        return y.reshape(*x.shape[:2], heads, shape.head_dim)
