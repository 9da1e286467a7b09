"""Muon: the momentum of every kernel made orthogonal by Newton-Schulz steps (Jordan et al., 2024),
scaled so that the rate and the decay of AdamW carry over (2502.16982).

Kernels between layers move by Muon, each matrix of a stack or of the experts by itself; what is no
such matrix (embeddings, the head, factors of adapters, vectors) moves by Adam at the same rate. A
kernel that computes several things at once, as the gates of an LSTM, is one matrix. The products of
the Newton-Schulz steps are matrix products, and counted in the FLOPs of a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import Array
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from lm_lab.contracts import Optimizer, OptimizerConfig
from lm_lab.nn.roles import Role
from lm_lab.optimizers import decayed
from lm_lab.schema import setting
from lm_lab.types import PyTree

ADAM_SIZE = 0.2  # the root mean square of AdamW's updates, by measurement (2502.16982)


@dataclass(frozen=True)
class Config(OptimizerConfig):
    """The settings of Muon."""

    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.1, low=0.0, traced=True
    )
    momentum: float = setting(
        "decay of the momentum of kernels (Nesterov's)", 0.95, low=0.0, high=0.9999999, traced=True
    )
    newton_schulz_steps: int = setting("steps towards an orthogonal matrix", 5, low=1, high=100)
    beta1: float = setting(
        "of the others: decay of the first moment", 0.9, low=0.0, high=0.9999999, traced=True
    )
    beta2: float = setting(
        "of the others: decay of the second moment", 0.95, low=0.0, high=0.9999999, traced=True
    )
    epsilon: float = setting(
        "of the others: added to the root of the second moment", 1e-8, low=1e-30
    )


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, roles: PyTree
) -> optax.GradientTransformation:
    """-rate * (0.2 sqrt(max(in, out)) * orthogonal(momentum) + weight_decay * kernel), for kernels
    f32[... in out].
    """
    muon = optax.chain(
        scale_by_muon(
            ns_steps=config.newton_schulz_steps,
            beta=hyper["momentum"],
            weight_dimension_numbers=_last_two_axes,
        ),
        optax.stateless(lambda updates, params: jax.tree.map(_as_large_as_adams, updates)),
    )
    adam = optax.scale_by_adam(hyper["beta1"], hyper["beta2"], config.epsilon)
    kinds = jax.tree.map(lambda role: "muon" if _is_hidden(role) else "adam", roles)
    return optax.chain(
        optax.partition({"muon": muon, "adam": adam}, kinds),
        optax.add_decayed_weights(hyper["weight_decay"], decayed(roles)),
        optax.scale_by_learning_rate(rate),
    )


def _is_hidden(role: Role) -> bool:
    return role.is_kernel and role.part not in ("head", "embedding", "positions")


def _last_two_axes(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1), params)


def _as_large_as_adams(update: Array) -> Array:
    return ADAM_SIZE * jnp.sqrt(float(max(update.shape[-2:]))) * update


OPTIMIZER = Optimizer(Config, make, reads_roles=True)
