"""AdamW: Adam with decoupled weight decay (1711.05101)."""

from collections.abc import Mapping
from dataclasses import dataclass

import optax
from jax import Array

from lm_lab.contracts import Optimizer, OptimizerConfig
from lm_lab.schema import setting
from lm_lab.types import PyTree


@dataclass(frozen=True)
class Config(OptimizerConfig):
    """The settings of AdamW."""

    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.1, low=0.0, traced=True
    )
    beta1: float = setting("decay of the first moment", 0.9, low=0.0, high=0.9999999, traced=True)
    beta2: float = setting("decay of the second moment", 0.99, low=0.0, high=0.9999999, traced=True)
    epsilon: float = setting("added to the root of the second moment", 1e-8, low=1e-30)


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, decay_mask: PyTree
) -> optax.GradientTransformation:
    """-rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * param)."""
    return optax.adamw(
        rate,
        hyper["beta1"],
        hyper["beta2"],
        config.epsilon,
        weight_decay=hyper["weight_decay"],
        mask=decay_mask,
    )


OPTIMIZER = Optimizer(Config, make, moves_by_rate=True)
