"""Attention in one kernel that keeps no scores: cuDNN's on an NVIDIA GPU, Pallas' splash attention on a TPU."""

import jax
from jax import Array

from lm_lab.types import Sees

TILE = 128  # lanes of a TPU: lengths are to be multiples of it


def cudnn(
    q_BLHK: Array,
    k_BMGK: Array,
    v_BMGK: Array,
    mask: Array | None,
    bias: Array | None,
    scale: float | None,
    window: int | None,
    sees: Sees,
) -> Array:
    """As nn.attention.attend, without a softcap; half precision on a GPU only."""
    return jax.nn.dot_product_attention(
        q_BLHK,
        k_BMGK,
        v_BMGK,
        bias=None if bias is None else bias.astype(q_BLHK.dtype),
        mask=mask,
        scale=scale,
        is_causal=mask is None and sees == "past",
        local_window_size=(window - 1, 0) if window is not None and mask is None else None,
        implementation="cudnn",
    )


def fits_cudnn(head_dim: int) -> bool:
    """Whether cuDNN has a kernel for heads of that many features."""
    return head_dim % 8 == 0 and head_dim <= 128


def fits_splash(length: int) -> bool:
    """Whether splash attention can run on that many tokens: in whole tiles, and on one device alone."""
    return length % TILE == 0 and jax.sharding.get_abstract_mesh().size <= 1


def splash(
    q_BLHK: Array,
    k_BLGK: Array,
    v_BLGK: Array,
    segments_BL: Array | None,
    scale: float | None,
    softcap: float | None,
    window: int | None,
    *,
    interpret: bool = False,
) -> Array:
    """As nn.attention.attend on the past of the own segment; L a multiple of TILE; `interpret`: on any device."""
    from jax.experimental.pallas.ops.tpu import splash_attention as tpu  # slow to import, and of use on a TPU alone

    length, heads = q_BLHK.shape[1:3]
    size = next(size for size in (512, 256, TILE) if length % size == 0)
    sizes = tpu.BlockSizes(
        block_q=size,
        block_kv=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_q_dq=size,
        block_kv_dq=size,
    )
    shape = (length, length)
    mask = tpu.CausalMask(shape) if window is None else tpu.LocalMask(shape, (window - 1, 0), 0)
    kernel = tpu.make_splash_mha_single_device(
        tpu.MultiHeadMask([mask] * heads), block_sizes=sizes, attn_logits_soft_cap=softcap, interpret=interpret
    )
    q_BHLK, k_BGLK, v_BGLK = (x.swapaxes(1, 2) for x in (q_BLHK, k_BLGK, v_BLGK))
    q_BHLK *= q_BLHK.shape[-1] ** -0.5 if scale is None else scale
    if segments_BL is None:
        return jax.vmap(kernel)(q_BHLK, k_BGLK, v_BGLK).swapaxes(1, 2)
    return jax.vmap(kernel)(q_BHLK, k_BGLK, v_BGLK, tpu.SegmentIds(segments_BL, segments_BL)).swapaxes(1, 2)
