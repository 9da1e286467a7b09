"""Stochastic gradient descent, with momentum or without (10.1038/323533a0).

Gradients are means over the targets of a batch. Where a paper sums them over the L tokens of a
window, its rate r and its clip_norm c are r L and c / L here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import optax
from jax import Array

from lm_lab.contracts import Optimizer, OptimizerConfig
from lm_lab.schema import setting
from lm_lab.types import PyTree


@dataclass(frozen=True)
class Config(OptimizerConfig):
    """The settings of stochastic gradient descent."""

    peak_rate: float = setting("learning rate after warm-up", 0.1, above=0.0, traced=True)
    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.0, low=0.0, traced=True
    )
    momentum: float | None = setting(
        "decay of the sum of gradients that is followed; None: the gradient alone",
        None,
        low=0.0,
        high=0.9999999,
        traced=True,
    )


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, decay_mask: PyTree
) -> optax.GradientTransformation:
    """-rate * (m + weight_decay * param), where m is momentum * m + gradient."""
    del config
    followed = optax.trace(hyper["momentum"]) if "momentum" in hyper else optax.identity()
    decay = optax.add_decayed_weights(hyper["weight_decay"], decay_mask)
    return optax.chain(followed, decay, optax.scale_by_learning_rate(rate))


OPTIMIZER = Optimizer(Config, make)
