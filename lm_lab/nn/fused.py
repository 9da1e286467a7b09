"""Attention in one kernel that keeps no scores: cuDNN's on an NVIDIA GPU, Pallas' splash attention
on a TPU.
"""

from typing import Any

import jax
from jax import Array

from lm_lab.types import Scope

TILE = 128  # lanes of a TPU: lengths must be multiples of it


def cudnn(
    q_BLHK: Array,
    k_BMGK: Array,
    v_BMGK: Array,
    mask: Array | None,
    bias: Array | None,
    scale: float | None,
    window: int | None,
    scope: Scope,
) -> Array:
    """As nn.attention.attend, without a softcap; half precision on a GPU only."""
    return jax.nn.dot_product_attention(
        q_BLHK,
        k_BMGK,
        v_BMGK,
        bias=None if bias is None else bias.astype(q_BLHK.dtype),
        mask=mask,
        scale=scale,
        is_causal=mask is None and scope == "causal",
        local_window_size=(window - 1, 0) if window is not None and mask is None else None,
        implementation="cudnn",
    )


def fits_cudnn(head_dim: int) -> bool:
    """Whether cuDNN has a kernel for heads of that many features."""
    return head_dim % 8 == 0 and head_dim <= 128


def fits_splash(queries: int, keys: int) -> bool:
    """Whether splash attention can run on that many tokens: in whole tiles, and on one device
    alone.
    """
    return queries % TILE == keys % TILE == 0 and jax.sharding.get_abstract_mesh().size <= 1


def splash(
    q_BLHK: Array,
    k_BMGK: Array,
    v_BMGK: Array,
    segments_BL: Array | None,
    scale: float | None,
    softcap: float | None,
    window: int | None,
    scope: Scope,
    *,
    interpret: bool = False,
) -> Array:
    """As nn.attention.attend, within segments; `interpret` runs it on any device, slowly."""
    from jax.experimental.pallas.ops.tpu import (
        splash_attention as tpu,  # slow to import, and of use on a TPU alone
    )

    shape, heads = (q_BLHK.shape[1], k_BMGK.shape[1]), q_BLHK.shape[2]
    size = next(size for size in (512, 256, TILE) if shape[0] % size == shape[1] % size == 0)
    sizes = tpu.BlockSizes(
        block_q=size,
        block_kv=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_q_dq=size,
        block_kv_dq=size,
    )
    if window is not None:
        mask = tpu.LocalMask(shape, (window - 1, 0 if scope == "causal" else window - 1), 0)
    else:
        mask = tpu.CausalMask(shape) if scope == "causal" else tpu.FullMask(shape)
    kernel = tpu.make_splash_mha_single_device(
        tpu.MultiHeadMask([mask] * heads),
        block_sizes=sizes,
        attn_logits_soft_cap=softcap,
        interpret=interpret,
    )
    q_BHLK, k_BGMK, v_BGMK = (x.swapaxes(1, 2) for x in (q_BLHK, k_BMGK, v_BMGK))
    q_BHLK *= q_BLHK.shape[-1] ** -0.5 if scale is None else scale
    segments = None if segments_BL is None else tpu.SegmentIds(segments_BL, segments_BL)
    mixed_BHLK: Any = jax.vmap(kernel)(q_BHLK, k_BGMK, v_BGMK, segments)
    return mixed_BHLK.swapaxes(1, 2)
