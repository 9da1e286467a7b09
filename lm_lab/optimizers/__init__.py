"""Optimizers, one per file; here is what all share: clipping, groups, the mask of weight decay."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax
from jax import Array

from lm_lab.contracts import Optimizer
from lm_lab.nn.roles import roles
from lm_lab.optimizer_contract import OptimizerConfig
from lm_lab.optimizers._groups import in_groups
from lm_lab.types import Hyper, PyTree, UserError


class Updates(NamedTuple):
    """An optimizer as a run has it: optax's two functions, and where gradients are taken."""

    init: Callable[[PyTree], PyTree]  # parameters -> state
    # (gradients, state, parameters) -> (updates of the parameters, state)
    update: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
    point: Callable[[PyTree, PyTree], PyTree]  # (state, parameters) -> where the gradient is taken


def composed(
    optimizer: Optimizer,
    config: OptimizerConfig,
    hyper: Hyper,
    rate: Array | float,
    roles: PyTree,
) -> Updates:
    """Clipping, then the optimizer at `rate` with its groups; `roles` has a Role for each
    parameter. Raises UserError where the groups do not fit the parameters, or the optimizer does
    not fit rates that depend on the width.
    """
    if not optimizer.moves_by_rate and any(role.rate != 1.0 for role in jax.tree.leaves(roles)):
        raise UserError(
            "config.model.base_width is for optimizers that move each entry by about the rate: "
            "adamw, ademamix, lion, schedule_free; choose one, or leave base_width out"
        )
    about = roles if optimizer.reads_roles else decayed(roles)

    def made(hyper: Hyper, rate: Array | float) -> optax.GradientTransformation:
        return optimizer.make(config, hyper, rate, about)

    inner = clipped(config.clip_norm, in_groups(config.groups, roles, made, hyper, rate))
    averaging = optimizer.averaging
    if averaging is None:
        return Updates(inner.init, inner.update, lambda state, params: params)
    outer = averaging.wrap(config, hyper, rate, inner)

    def point(state: PyTree, params: PyTree) -> PyTree:
        return averaging.point(config, hyper, state, params)

    return Updates(outer.init, outer.update, point)


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
