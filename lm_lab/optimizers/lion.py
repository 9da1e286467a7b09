"""Lion: the sign of a momentum, and half of Adam's memory (2302.06675).

Every entry moves by the whole rate, so the paper's rate is 3 to 10 times below AdamW's, and its
weight decay as many times above AdamW's.
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
    """The settings of Lion."""

    peak_rate: float = setting("learning rate after warm-up", 1e-4, above=0.0, traced=True)
    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 1.0, low=0.0, traced=True
    )
    beta1: float = setting(
        "share of the momentum in the direction whose sign is taken",
        0.9,
        low=0.0,
        high=0.9999999,
        traced=True,
    )
    beta2: float = setting("decay of the momentum", 0.99, low=0.0, high=0.9999999, traced=True)


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, decay_mask: PyTree
) -> optax.GradientTransformation:
    """-rate * (sign(beta1 * m + (1 - beta1) * gradient) + weight_decay * param), then m is
    beta2 * m + (1 - beta2) * gradient.
    """
    return optax.lion(
        rate,
        hyper["beta1"],
        hyper["beta2"],
        weight_decay=hyper["weight_decay"],
        mask=decay_mask,
    )


OPTIMIZER = Optimizer(Config, make, moves_by_rate=True)
