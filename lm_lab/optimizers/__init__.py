"""Optimizers, one per file; and the gradient clipping that all of them share."""

import jax
import optax
from jax import Array

from lm_lab.types import PyTree

DECAYED = ("kernel", "embedding", "down_kernel", "up_kernel")


def clipped(
    clip_norm: float | None, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The optimizer, given gradients whose global norm is at most `clip_norm` (None: any)."""
    clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
    return optax.chain(clip, optimizer)


def decay_mask(params: PyTree) -> PyTree:
    """True for kernels and embeddings, by name: a stacked norm scale is
    f32[N D] and is no matrix.
    """

    def is_matrix(path: tuple, _: Array) -> bool:
        return any(getattr(key, "key", None) in DECAYED for key in path)

    return jax.tree_util.tree_map_with_path(is_matrix, params)
