"""Attention in one kernel that keeps no scores: cuDNN's on an NVIDIA GPU, Pallas' splash attention
on a TPU; and what a kernel does under vmap.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from lm_lab.types import Scope

TILE = 128  # lanes of a TPU: lengths must be multiples of it
HIDDEN = -(2.0**15)  # the score of a key that is not seen: float16 holds it, and its exp is 0

Arrays = tuple[Array, ...]
Function = Callable[..., Array]


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
    """As nn.attention.attend, without a softcap; half precision on a GPU only.

    Members under vmap are further rows of one call; a bias that rows share is then in memory for
    each row.
    """
    causal = mask is None and scope == "causal"
    past = None if window is None or mask is not None else (window - 1, 0)
    if mask is not None:
        bias = jnp.where(mask, 0.0 if bias is None else bias, HIDDEN)

    def kernel(q_BLHK: Array, k_BMGK: Array, v_BMGK: Array, *bias: Array) -> Array:
        return jax.nn.dot_product_attention(
            q_BLHK,
            k_BMGK,
            v_BMGK,
            *bias,
            scale=scale,
            is_causal=causal,
            local_window_size=past,
            implementation="cudnn",
        )

    biases = () if bias is None else (bias.astype(q_BLHK.dtype),)
    return rows_under_vmap(kernel)(q_BLHK, k_BMGK, v_BMGK, *biases)


def rows_under_vmap(kernel: Function) -> Function:
    """The kernel, a function of float arrays [B ...], which does under vmap the rows of all members
    in one call. An array may have one row for all; the first has all.

    What its derivative keeps must have rows, too.
    """
    forward, backward = _passes(kernel)

    def backward_of_members(back: Any, arrays: Arrays, kept: list[Array], dout: Array) -> Arrays:
        members, rows = arrays[0].shape[:2]
        gradients = back(_joined(arrays), *jax.tree.map(_flat, (kept, dout)))
        split = [_split(members, x) for x in gradients]
        return tuple(
            dx if x.shape[1] == rows else dx.sum(1, keepdims=True) for x, dx in zip(arrays, split)
        )

    return _differentiable(
        rows_of_members(kernel), rows_of_members(forward), _batched(backward, backward_of_members)
    )


def rows_of_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `rows_under_vmap`, of a function of any arrays to arrays [B ...], without a derivative."""

    def of_members(function: Function, *arrays: Array) -> Any:
        return jax.tree.map(partial(_split, len(arrays[0])), function(*_joined(arrays)))

    return _batched(function, of_members)


def _flat(x_PB: Array) -> Array:
    return x_PB.reshape(x_PB.shape[0] * x_PB.shape[1], *x_PB.shape[2:])


def _split(members: int, x: Array) -> Array:
    return x.reshape(members, x.shape[0] // members, *x.shape[1:])


def _joined(arrays_PB: Arrays) -> Arrays:
    """Arrays [P B ...] or [P 1 ...] as [P * B ...]."""
    places = arrays_PB[0].shape[:2]
    return tuple(_flat(jnp.broadcast_to(x, (*places, *x.shape[2:]))) for x in arrays_PB)


def under_vmap(kernel: Function, of_members: Function) -> Function:
    """The kernel, a function of float arrays, which becomes `of_members` under vmap: a function of
    the same arrays with a leading axis of members each. Both must have derivatives.

    The two keep different things for their derivatives, so that the derivative of `of_members`
    computes its value again; that of the kernel does not.
    """
    forward, backward = _passes(kernel)

    def forward_of_members(_: Any, *arrays: Array) -> tuple[Array, list[Array]]:
        of_one = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in arrays]
        kept = jax.eval_shape(forward, *of_one)[1]  # nothing reads it, and XLA leaves it out
        return of_members(*arrays), [jnp.zeros((len(arrays[0]), *x.shape), x.dtype) for x in kept]

    def backward_of_members(_: Any, arrays: Arrays, __: list[Array], dout: Array) -> Arrays:
        return jax.vjp(of_members, *arrays)[1](dout)

    return _differentiable(
        _batched(kernel, lambda _, *arrays: of_members(*arrays)),
        _batched(forward, forward_of_members),
        _batched(backward, backward_of_members),
    )


def _differentiable(value: Function, forward: Any, backward: Any) -> Function:
    """The value, with a derivative by `forward`, arrays -> (value, kept), and `backward`."""

    def with_arrays(*arrays: Array) -> tuple[Array, tuple[Arrays, list[Array]]]:
        out, kept = forward(*arrays)
        return out, (arrays, kept)

    run = jax.custom_vjp(lambda *arrays: value(*arrays))
    run.defvjp(with_arrays, lambda residuals, dout: backward(*residuals, dout))
    return run


def _passes(kernel: Function) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(arrays -> (value, kept), (arrays, kept, gradient of the value) -> those of the arrays)."""

    def forward(*arrays: Array) -> tuple[Array, list[Array]]:
        return _pull(kernel, arrays)[:2]

    def backward(arrays: Arrays, kept: list[Array], dout: Array) -> Arrays:
        pullbacks: list[Any] = []
        jax.eval_shape(lambda *arrays: pullbacks.append(_pull(kernel, arrays)[2]), *arrays)
        return pullbacks[0](arrays, kept, dout)

    return forward, backward


def _pull(kernel: Function, arrays: Arrays) -> tuple[Array, list[Array], Callable[..., Arrays]]:
    """(the value, what its derivative keeps beside the arrays, (arrays, kept, dout) -> gradients).

    The arrays are told apart so that they are not kept twice.
    """
    out, pullback = jax.vjp(kernel, *arrays)
    leaves, structure = jax.tree.flatten(pullback)
    places = [next((i for i, x in enumerate(arrays) if x is leaf), None) for leaf in leaves]

    def gradients(arrays: Arrays, kept: list[Array], dout: Array) -> Arrays:
        others = iter(kept)
        leaves = [next(others) if place is None else arrays[place] for place in places]
        return jax.tree.unflatten(structure, leaves)(dout)

    return out, [leaf for leaf, place in zip(leaves, places) if place is None], gradients


def _batched(function: Callable[..., Any], of_members: Callable[..., Any]) -> Callable[..., Any]:
    """The function; under vmap `of_members` of the function and its arrays, each with the axis of
    members in front.
    """

    def rule(members: int, is_batched: list[Any], *args: Any) -> tuple[Any, Any]:
        def with_members(x: Array, has: bool) -> Array:
            return x if has else jnp.broadcast_to(x, (members, *x.shape))

        out = of_members(batched, *jax.tree.map(with_members, args, tuple(is_batched)))
        return out, jax.tree.map(lambda _: True, out)

    batched = custom_vmap(function)
    batched.def_vmap(rule)
    return batched


def fits_cudnn(head_dim: int, queries: int, keys: int, simple: bool) -> bool:
    """Whether cuDNN has a kernel, and its derivative, for heads of that many features and so many
    tokens; `simple`: without a mask or a bias.
    """
    return head_dim % 8 == 0 and head_dim <= 128 and (simple or queries % 2 == keys % 2 == 0)


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
