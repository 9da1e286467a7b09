"""A schedule: the inverse square root of the step (1706.03762)."""

import jax.numpy as jnp

from lm_lab.contracts import Schedule
from lm_lab.schedules import Warmup, check_steps, warmed


def factor(config, step, steps):
    """sqrt(warmup_steps / step), after the warm-up; a run of any length has the same rates."""
    return warmed(config, step, jnp.sqrt(max(config.warmup_steps, 1) / (step + 1.0)))


SCHEDULE = Schedule(Warmup, factor, check_steps)
