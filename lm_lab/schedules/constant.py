"""The peak rate, after the warm-up."""

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Schedule
from lm_lab.schedules import Warmup, check_steps, warmed


def factor(config: Warmup, step: Array, steps: int) -> Array:
    """The share of the peak rate, f32[...]."""
    return warmed(config, step, steps, jnp.ones(()))


SCHEDULE = Schedule(Warmup, factor, check_steps)
