"""AdEMAMix: AdamW with a second, slow average of gradients, some 10,000 steps long (2409.03137)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from lm_lab.contracts import Optimizer
from lm_lab.optimizers import adamw
from lm_lab.schema import setting
from lm_lab.types import PyTree


@dataclass(frozen=True)
class Config(adamw.Config):
    """The settings of AdEMAMix: those of AdamW, and the slow average's."""

    beta3: float = setting(
        "decay of the slow first moment", 0.9999, low=0.0, high=0.9999999, traced=True
    )
    alpha: float = setting("share of the slow moment, beside the fast", 5.0, low=0.0, traced=True)
    rise_steps: int = setting(
        "steps in which alpha rises from 0, and beta3 from beta1; the paper's are all of the run's",
        10_000,
        low=1,
    )


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, decay_mask: PyTree
) -> optax.GradientTransformation:
    """As AdamW, with m / (1 - beta1^t) + alpha_t * slow in the place of m / (1 - beta1^t), where
    slow is beta3_t * slow + (1 - beta3_t) * gradient.
    """

    def risen(count: Any) -> Array:
        return jnp.minimum((count + 1) / config.rise_steps, 1.0)

    def beta3(count: Any) -> Array:
        """The decay whose half-life lies linearly between those of beta1 and beta3."""
        first, last = (-1 / jnp.log2(hyper[name]) for name in ("beta1", "beta3"))
        return jnp.exp2(-1 / (first + risen(count) * (last - first)))

    return optax.contrib.ademamix(
        rate,
        hyper["beta1"],
        hyper["beta2"],
        beta3,
        lambda count: hyper["alpha"] * risen(count),
        config.epsilon,
        weight_decay=hyper["weight_decay"],
        mask=decay_mask,
    )


OPTIMIZER = Optimizer(Config, make, moves_by_rate=True)
