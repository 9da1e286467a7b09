"""AdamW and the schedules of its rate. What runs of one program may differ in comes from the state,
as arrays.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lm_lab.schema import setting
from lm_lab.types import Hyper, PyTree, UserError


@dataclass(frozen=True)
class Config:
    """The fields of a config's optimizer section."""

    name: Literal["adamw"] = setting("which optimizer", "adamw")
    peak_rate: float = setting("learning rate after warm-up", 1e-3, above=0.0, traced=True)
    schedule: Literal["cosine", "linear", "constant", "wsd"] = setting(
        "of the rate after warm-up", "cosine"
    )
    warmup_steps: int = setting("linear rise of the rate, in steps", 0, low=0, high=2**31 - 1)
    decay_fraction: float = setting(
        "last share of the steps in which wsd falls", 0.2, low=0.0, high=1.0
    )
    final_fraction: float = setting(
        "share of the peak rate that is left at the end", 0.1, low=0.0, high=1.0
    )
    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.1, low=0.0, traced=True
    )
    beta1: float = setting("decay of the first moment", 0.9, low=0.0, high=0.9999999, traced=True)
    beta2: float = setting("decay of the second moment", 0.99, low=0.0, high=0.9999999, traced=True)
    epsilon: float = setting("added to the root of the second moment", 1e-8, low=1e-30)
    clip_norm: float | None = setting(
        "largest global norm of the gradient; None: no clipping", 1.0, above=0.0
    )

    def check_steps(self, steps: int) -> None:
        """Raises UserError where the warm-up does not fit into the run."""
        if self.warmup_steps > steps:
            raise UserError(
                f"config.optimizer.warmup_steps {self.warmup_steps} exceeds the run's {steps} "
                "steps; lower it"
            )


def rate_factor(config: Config, step: Array, steps: int) -> Array:
    """The schedule as a share of the peak rate, f32[], at step i32[] of `steps` in all.

    Warm-up is linear and never 0; wsd is warm-up, stable, linear decay (2404.06395).
    """
    now = step.astype(jnp.float32)
    warm = (now + 1) / max(config.warmup_steps, 1)
    done = jnp.clip((now - config.warmup_steps) / max(steps - config.warmup_steps, 1), 0, 1)
    if config.schedule == "constant":
        shape = jnp.ones(())
    elif config.schedule == "cosine":
        shape = 0.5 * (1 + jnp.cos(math.pi * done))
    elif config.schedule == "linear":
        shape = 1 - done
    else:
        shape = jnp.clip((steps - now) / max(config.decay_fraction * steps, 1), 0, 1)
    return jnp.minimum(warm, config.final_fraction + (1 - config.final_fraction) * shape)


def same_rates(config: Config, steps: int, other_steps: int, until: int) -> bool:
    """Whether runs of `steps` and of `other_steps` steps have the same rates in their first `until`
    steps.
    """
    now = jnp.arange(until)
    return bool((rate_factor(config, now, steps) == rate_factor(config, now, other_steps)).all())


def make(config: Config, hyper: Hyper, rate: Array | float) -> optax.GradientTransformation:
    """Clipping, then AdamW (1711.05101) at `rate`; decay for matrices only, not for norms."""
    clip = (
        optax.identity()
        if config.clip_norm is None
        else optax.clip_by_global_norm(config.clip_norm)
    )
    adamw = optax.adamw(
        rate,
        hyper["beta1"],
        hyper["beta2"],
        config.epsilon,
        weight_decay=hyper["weight_decay"],
        mask=decayed,
    )
    return optax.chain(clip, adamw)


MATRICES = ("kernel", "embedding", "down_kernel", "up_kernel")


def decayed(params: PyTree) -> PyTree:
    """True for matrices (kernels and embeddings), by name: a stacked norm scale is f32[N D] and is
    no matrix.
    """

    def is_matrix(path: tuple, _: Array) -> bool:
        return any(getattr(key, "key", None) in MATRICES for key in path)

    return jax.tree_util.tree_map_with_path(is_matrix, params)
