"""What layers do where the mesh splits an axis that they mix: the length of a row, or experts."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import spmd
from jax import Array, lax
from jax.sharding import PartitionSpec as P

from lm_lab.types import PyTree

ANY = P.UNCONSTRAINED


def axis_of(logical: str) -> str | None:
    """The axis of the mesh of the context that splits a logical axis of activations; None where it
    is whole.
    """
    axis = dict(nn.get_logical_axis_rules()).get(logical)
    return axis if isinstance(axis, str) and size_of(logical) > 1 else None


def size_of(logical: str) -> int:
    """Devices of the mesh of the context over which a logical axis of activations is split."""
    return devices_along(_names(dict(nn.get_logical_axis_rules()).get(logical)))


def devices_along(axes: tuple[str, ...]) -> int:
    """Devices along these axes of the mesh of the context together; 1 without a mesh."""
    sizes = jax.sharding.get_abstract_mesh().shape
    return math.prod(sizes.get(axis, 1) for axis in axes)


def grouped(axes: tuple[str, ...]) -> AbstractContextManager[None]:
    """The context of layers in a vmap over groups of devices along these axes of the mesh, which
    see the rows of a group.
    """
    return nn.logical_axis_rules([*rules_without(axes), ("group", axes)])


def rules_without(axes: tuple[str | None, ...]) -> list[tuple[str, Any]]:
    """The logical axes of the context, of which none that several axes of the mesh split is split
    over these.
    """

    def without(names: Any) -> Any:
        return (
            tuple(axis for axis in names if axis not in axes) if isinstance(names, tuple) else names
        )

    return [(name, without(names)) for name, names in nn.get_logical_axis_rules()]


def _names(axes: Any) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else axes or ()


def is_split(logical: str) -> bool:
    """Whether the mesh of the context splits a logical axis of activations."""
    return axis_of(logical) is not None


def whole_length(x_BM: Array) -> Array:
    """Keys or values [B M ...] of all positions on each device that has a part of the row."""
    if not is_split("length"):
        return x_BM
    return lax.with_sharding_constraint(x_BM, P(ANY, None, *[ANY] * (x_BM.ndim - 2)))


def to_experts(x_BECD: Array) -> Array:
    """What experts read [B E C D], moved from the devices of the rows to those of the experts: an
    all-to-all where experts are split.
    """
    if not is_split("expert"):
        return x_BECD
    # Where it comes from is said for its gradient, which XLA would sum over all devices instead.
    x_BECD = spmd.with_logical_constraint(x_BECD, ("batch", None, None, None))
    return spmd.with_logical_constraint(x_BECD, ("expert_rows", "expert", None, None))


def from_experts(y_BECD: Array) -> Array:
    """The inverse of `to_experts`."""
    if not is_split("expert"):
        return y_BECD
    y_BECD = spmd.with_logical_constraint(y_BECD, ("expert_rows", "expert", None, None))
    return spmd.with_logical_constraint(y_BECD, ("batch", None, None, None))


def _vmapped() -> set[str]:
    """The axes of the mesh over which arrays are split by a vmap around the layers."""
    rules = dict(nn.get_logical_axis_rules())
    names = {
        axis for vmapped in ("member", "stage", "group") for axis in _names(rules.get(vmapped))
    }
    return {axis for axis in names if devices_along((axis,)) > 1}


def by_rows(function: Callable[..., Array], x: PyTree, *shared: PyTree) -> Array:
    """function(x, arrays [B ...]; what rows share) -> [B ...] of the rows that each device has. For
    what XLA cannot divide, calls into libraries and sorting: it would move rows between devices.
    Rows that devices do not divide stay together.
    """
    axes = _names(dict(nn.get_logical_axis_rules()).get("batch"))
    axes = tuple(axis for axis in axes if devices_along((axis,)) > 1)
    rows = len(jax.tree.leaves(x)[0])
    if not axes or rows % devices_along(axes):
        return function(x, *shared)
    each = _per_device(function, axes, (P(axes), *[P()] * len(shared)), P(axes))
    return each(x, *shared)


def _per_device(
    function: Callable[..., Any], axes: tuple[str, ...], ins: tuple[P, ...], outs: P | tuple[P, ...]
) -> Callable[..., Any]:
    """The function on each device's part of arrays that these axes of the mesh split."""
    # The axes of vmaps too, whose parts of an array must be known here.
    names = {*axes, *_vmapped()}
    return jax.shard_map(function, in_specs=ins, out_specs=outs, axis_names=names, check_vma=False)


# (what parts share, start, the tokens [B L ...]) -> (outputs [B L ...], end)
Scan = Callable[..., tuple[Array, Array]]


def along_length(
    scan: Scan, decay: Callable[..., Array], shared: PyTree, start: Array, *tokens: Array
) -> tuple[Array, Array]:
    """(outputs [B L ...], end) of a linear recurrence from `start`, where devices have parts of the
    length: each scans its own from zero, they tell one another where that ends, and scan again from
    the state with which their part begins. `decay` (shared, tokens) is the factor by which a part
    multiplies the state before it.

    Where the length is whole, it is the scan alone.
    """
    axis = axis_of("length")
    if axis is None:
        return scan(shared, start, *tokens)
    parts = jax.sharding.get_abstract_mesh().shape[axis]

    def local(shared: PyTree, start: Array, *tokens: Array) -> tuple[Array, Array]:
        _, end = scan(shared, jnp.zeros_like(start), *tokens)
        factor = decay(shared, *tokens)
        ends, factors = (lax.all_gather(each, axis) for each in (end, factor))
        begins = [start]
        for part in range(parts):
            begins.append(factors[part] * begins[-1] + ends[part])
        own = jnp.stack(begins[:-1])[lax.axis_index(axis)]
        return scan(shared, own, *tokens)[0], begins[-1]

    split = P(None, axis)
    along = _per_device(local, (axis,), (P(), P(), *[split] * len(tokens)), (split, P()))
    return along(shared, start, *tokens)
