"""Warm-up, stable, decay: the peak rate, and a linear fall at the very end (2404.06395).

A run may be lengthened from any step of its stable part.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Schedule
from lm_lab.schedules import Decay, check_steps, decayed
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config(Decay):
    """The settings of the schedule."""

    decay_fraction: float = setting(
        "last share of the run's steps, in which the rate falls", 0.2, low=0.0, high=1.0
    )


def factor(config: Config, step: Array, steps: int) -> Array:
    """The share of the peak rate, f32[...]."""
    left = (steps - step.astype(jnp.float32)) / max(config.decay_fraction * steps, 1)
    return decayed(config, step, steps, jnp.clip(left, 0, 1))


SCHEDULE = Schedule(Config, factor, check_steps)
