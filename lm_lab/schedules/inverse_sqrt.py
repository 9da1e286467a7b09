"""The peak rate, which falls with the square root of the step after the warm-up (1706.03762).

The rate of a step does not depend on the length of the run, unless the warm-up is a share of it.
"""

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Schedule
from lm_lab.schedules import Warmup, check_steps, warmed


def factor(config: Warmup, step: Array, steps: int) -> Array:
    """The share of the peak rate, f32[...]."""
    warmup = max(config.warmup(steps), 1)
    return warmed(config, step, steps, jnp.sqrt(warmup / (step.astype(jnp.float32) + 1)))


SCHEDULE = Schedule(Warmup, factor, check_steps)
