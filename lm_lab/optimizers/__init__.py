"""Optimizers, one per file; here is what all share: clipping, and the mask of weight decay."""

import jax
import optax

from lm_lab.nn.roles import roles
from lm_lab.types import PyTree


def clipped(
    clip_norm: float | None, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The optimizer, given gradients whose global norm is at most `clip_norm` (None: any)."""
    clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
    return optax.chain(clip, optimizer)


def decay_mask(params: PyTree) -> PyTree:
    """Whether each parameter decays, by its role (nn/roles.py): True for matrices and tables.

    `params` are boxed, abstract or not. The mask has a bool in the place of each box, so it fits
    boxed and unboxed parameters.
    """
    return decayed(roles(params))


def decayed(roles: PyTree) -> PyTree:
    """Whether each parameter decays, given its role."""
    return jax.tree.map(lambda role: role.is_decayed, roles)
