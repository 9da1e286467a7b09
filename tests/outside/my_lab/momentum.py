"""An optimizer: the gradient, with momentum."""

from dataclasses import dataclass

import optax

from lm_lab.contracts import Optimizer, OptimizerConfig
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config(OptimizerConfig):
    """The settings of the optimizer."""

    momentum: float = setting("decay of the sum of gradients", 0.5, low=0.0, high=1.0, traced=True)


def make(config, hyper, rate, decay_mask):
    """-rate times the decayed sum of gradients."""
    return optax.chain(optax.trace(hyper["momentum"]), optax.scale(-rate))


OPTIMIZER = Optimizer(Config, make)
