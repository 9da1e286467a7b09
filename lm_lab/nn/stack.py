"""Depth, in one place."""

from typing import Any, Literal

import flax.linen as nn
import jax

from lm_lab.nn.linear import PRODUCT

Remat = Literal["none", "full", "dots"]

POLICIES = {"full": None, "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT)}


def repeat(block: type[nn.Module], depth: int, *, scan: bool, remat: Remat) -> Any:
    """`depth` copies of `block` one after another: a constructor taking the block's own arguments.

    A block maps (carry, *shared) to (carry, None). Parameters are stacked on a leading axis of N layers whether the
    layers are scanned (one compiled body at any depth) or unrolled (faster when small), so the two are one model.
    `remat` says what the backward pass computes again: nothing, all of a block, or all but its products with kernels.
    """
    if remat != "none":
        block = nn.remat(block, policy=POLICIES[remat], prevent_cse=not scan)
    return nn.scan(
        block,
        variable_axes={"params": 0, "cache": 0, "losses": 0, "lora": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,  # type: ignore[arg-type]
        length=depth,
        unroll=1 if scan else depth,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
