"""Repeated layers: scanned or unrolled, grouped, recomputed. The one place that handles depth."""

from functools import partial
from operator import itemgetter
from typing import Any, Literal, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from lm_lab.nn.cache import is_decoding
from lm_lab.nn.linear import PRODUCT
from lm_lab.nn.pipeline import Pipeline
from lm_lab.nn.splits import is_split
from lm_lab.types import PyTree, UserError

DEEPEST = 2**14  # layers
MOST_UNROLLED = 1024  # layers that may be unrolled: each takes seconds to compile
Remat = Literal["none", "full", "dots", "offload"]

POLICIES = {
    "full": None,
    "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT),
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[PRODUCT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}


def groups_of(depth: int, every: int | None) -> tuple[int, int]:
    """(groups of `every` layers, layers left over); None: no groups."""
    return (0, depth) if every is None else divmod(depth, every)


def stacks_of(depth: int, every: int | None, first: int = 0) -> tuple[tuple[str, range], ...]:
    """The paths of parameters that hold `depth` layers, each with the numbers of its layers,
    counted from `first`: groups/block_0, groups/block_1, ... for layers in groups, and "layers" for
    those left over or without groups.
    """
    (groups, leftover), size = groups_of(depth, every), every or 1
    end = first + groups * size
    blocks = [
        (f"groups/block_{i}", range(first + i, end, size)) for i in range(size if groups else 0)
    ]
    return (*blocks, ("layers", range(end, first + depth))) if leftover else tuple(blocks)


class LayersConfig(Protocol):
    """The settings that say how layers are repeated."""

    @property
    def scan(self) -> bool: ...
    @property
    def remat(self) -> Remat: ...
    @property
    def dropout(self) -> float: ...


def repeat(parent: nn.Module, block: type[nn.Module], depth: int, cfg: LayersConfig) -> Any:
    """`depth` copies of `block`, one after another, in the `setup` of `parent`: a constructor that
    takes the block's own arguments.

    A block maps (carry, *shared) to (carry, None). Parameters are stacked on a leading axis of N
    layers whether the layers are scanned (one compiled body at any depth) or unrolled (faster when
    small), so the two are one model. The "cache" of scanned layers is stacked too; unrolled layers
    have a cache each, which XLA updates in place. `cfg.remat` says what the backward pass
    recomputes: nothing ("none"), whole blocks ("full"), or all but the products with kernels, which
    lie on the device ("dots") or in the host's memory ("offload") until then.
    """
    if depth > MOST_UNROLLED and not cfg.scan:
        raise UserError(
            f"config.model.depth: {depth} unrolled layers compile for hours; set "
            "config.model.scan=True"
        )
    if cfg.remat != "none":
        block = nn.remat(block, policy=POLICIES[cfg.remat], prevent_cse=not cfg.scan)
    draws = _draws(parent, cfg.dropout)
    if is_split("stage") and not (parent.is_initializing() or is_decoding(parent)):
        return lambda *args, **settings: Pipeline(
            partial(block, *args, parent=None, **settings), depth, cfg.scan, draws
        )
    layers = nn.scan(
        block,
        variable_axes={"params": 0, "cache": 0, "losses": 0, "lora": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,  # type: ignore[arg-type]
        length=depth,
        unroll=1 if cfg.scan else depth,
        metadata_params={nn.PARTITION_NAME: "layers"},
        # If True, Flax traces a block twice and draws random numbers in the second trace. Where
        # nothing is drawn, one trace gives the same program in half the time.
        check_constancy_invariants=draws,
    )
    return (
        layers
        if cfg.scan
        else nn.map_variables(layers, "cache", _stacked, partial(_unstacked, depth), mutable=True)
    )


def _draws(parent: nn.Module, dropout: float) -> bool:
    """Whether layers draw random numbers in this call: initial parameters, or what they or an
    adapter drop.
    """
    if parent.is_mutable_collection("params"):
        return True
    adapted = parent.scope is not None and not parent.scope.is_collection_empty("lora")
    return parent.has_rng("dropout") and (dropout > 0 or adapted)


def _stacked(variables: PyTree) -> PyTree:
    """The inverse of `_unstacked`. XLA removes the pair where one call unstacks what an earlier one
    stacked.
    """
    layers = variables.get("cache")
    if not layers:  # an encoder has no cache
        return {}
    ordered = [layers[f"layer_{index}"] for index in range(len(layers))]
    return {"cache": jax.tree.map(lambda *parts: jnp.stack(parts), *ordered)}


def _unstacked(depth: int, variables: PyTree) -> PyTree:
    """A cache of layer_0, layer_1, ... from a stacked one, whose arrays have a leading axis of N
    layers.
    """
    stacked = variables.get("cache")
    if not stacked:
        return {}
    return {
        "cache": {
            f"layer_{index}": jax.tree.map(itemgetter(index), stacked) for index in range(depth)
        }
    }
