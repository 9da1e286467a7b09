"""Memory in bytes of a train state, from its shapes, and of a compiled program, from XLA's plan."""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import jax
from jax.stages import Compiled

from lm_lab.types import PyTree


def bytes_of(tree: PyTree) -> int:
    """Bytes of a tree of arrays or ShapeDtypeStructs on one device: the shard of each leaf."""
    return sum(prod(_shard(leaf)) * leaf.dtype.itemsize for leaf in jax.tree_util.tree_leaves(tree))


def _shard(leaf: Any) -> tuple[int, ...]:
    sharding = leaf.sharding if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)) else None
    return leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)


def state_bytes(
    params: PyTree, opt_state: PyTree, slots: Mapping[str, PyTree], gradients: PyTree | None = None
) -> dict[str, int]:
    """Bytes on one device by category, those of slots by their names; gradients are of the trained
    parameters' shapes and dtypes, and lie where these do unless given.
    """
    gradients = params if gradients is None else gradients
    trees = {"parameters": params, "gradients": gradients, "optimizer": opt_state}
    trees |= {name: tree for name, tree in slots.items() if jax.tree.leaves(tree)}
    return {name: bytes_of(tree) for name, tree in trees.items()}


class Memory(NamedTuple):
    """Bytes on one device for one call of a compiled program."""

    arguments: int
    outputs: int
    aliased: int  # outputs stored in donated arguments
    temporaries: int  # activations, gradients and all else that lives only within the call
    peak: int  # arguments + outputs - aliased + temporaries


def compiled_memory(compiled: Compiled) -> Memory | None:
    """The memory plan of a compiled function (`jax.jit(f).lower(...).compile()`).

    None if the backend gives none.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    arguments, outputs = stats.argument_size_in_bytes, stats.output_size_in_bytes
    aliased, temporaries = stats.alias_size_in_bytes, stats.temp_size_in_bytes
    return Memory(
        arguments, outputs, aliased, temporaries, arguments + outputs - aliased + temporaries
    )
