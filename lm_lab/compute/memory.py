"""Bytes: of a state by category, from shapes alone, and of a compiled program, as its compiler
plans them.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import jax
from jax.stages import Compiled

from lm_lab.types import PyTree


def bytes_of(tree: PyTree) -> int:
    """Bytes on one device of a tree of arrays or ShapeDtypeStructs: each one's shard, or the whole
    of it unsharded.
    """
    return sum(prod(_shard(leaf)) * leaf.dtype.itemsize for leaf in jax.tree_util.tree_leaves(tree))


def _shard(leaf: Any) -> tuple[int, ...]:
    sharding = getattr(leaf, "sharding", None)
    return leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)


def state_bytes(params: PyTree, opt_state: PyTree, slots: Mapping[str, PyTree]) -> dict[str, int]:
    """Bytes on one device by category, those of slots by their names; gradients are of the trained
    parameters' shapes and dtypes.
    """
    held = {"parameters": params, "gradients": params, "optimizer": opt_state}
    held |= {name: tree for name, tree in slots.items() if jax.tree.leaves(tree)}
    return {name: bytes_of(tree) for name, tree in held.items()}


class Memory(NamedTuple):
    """Bytes on one device, of one call of a compiled program."""

    arguments: int
    outputs: int
    aliased: int  # outputs that live in donated arguments
    temporaries: int  # activations, gradients, and all else that lives only within the call
    peak: int  # arguments + outputs - aliased + temporaries


def compiled_memory(compiled: Compiled) -> Memory | None:
    """The compiler's plan of the memory of `jax.jit(f).lower(...).compile()`; None where the
    backend gives none.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    arguments, outputs = stats.argument_size_in_bytes, stats.output_size_in_bytes
    aliased, temporaries = stats.alias_size_in_bytes, stats.temp_size_in_bytes
    return Memory(
        arguments, outputs, aliased, temporaries, arguments + outputs - aliased + temporaries
    )
