"""Adafactor: Adam's second moments as an outer product of row and column means (1804.04235).

A matrix [in, out] needs in + out numbers of state in the place of Adam's 2 in out. As there, an
update is divided by its root mean square where that is above 1, and `relative` multiplies the rate
by the root mean square of the parameter.
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
    """The settings of Adafactor."""

    peak_rate: float = setting("learning rate after warm-up", 1e-2, above=0.0, traced=True)
    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.0, low=0.0, traced=True
    )
    decay_exponent: float = setting(
        "c: second moments decay by 1 - t^-c at step t", 0.8, above=0.0, high=1.0, traced=True
    )
    momentum: float | None = setting(
        "decay of a first moment; None: none, and no memory for it",
        None,
        low=0.0,
        high=0.9999999,
        traced=True,
    )
    relative: bool = setting("whether rates are relative to the size of a parameter", True)
    factored_from: int = setting(
        "axes of at least this length are factored; smaller matrices keep all moments", 128, low=1
    )


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, decay_mask: PyTree
) -> optax.GradientTransformation:
    """-rate * (size * clipped(gradient / sqrt(v)) + weight_decay * param), where size is the root
    mean square of the parameter, at least 1e-3, if `relative`, and else 1.
    """
    exponent = hyper["decay_exponent"]
    size = optax.scale_by_param_block_rms() if config.relative else optax.identity()
    followed = optax.identity()
    if "momentum" in hyper:
        followed = optax.ema(hyper["momentum"], debias=False)
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=exponent, min_dim_size_to_factor=config.factored_from
        ),
        optax.clip_by_block_rms(1.0),
        size,
        followed,
        optax.add_decayed_weights(hyper["weight_decay"], decay_mask),
        optax.scale_by_learning_rate(rate),
    )


OPTIMIZER = Optimizer(Config, make)
