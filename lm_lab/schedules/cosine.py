"""Half a cosine, from the end of the warm-up to the end of the run (1608.03983)."""

import math

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Schedule
from lm_lab.schedules import Decay, check_steps, decayed, progress


def factor(config: Decay, step: Array, steps: int) -> Array:
    """The share of the peak rate, f32[...]."""
    shape = 0.5 * (1 + jnp.cos(math.pi * progress(config, step, steps)))
    return decayed(config, step, steps, shape)


SCHEDULE = Schedule(Decay, factor, check_steps)
