"""A schedule: the inverse square root of the step (1706.03762)."""

import jax.numpy as jnp

from lm_lab.contracts import Schedule
from lm_lab.schedules import Warmup, check_steps, warmed


def factor(config, step, steps):
    """sqrt(warm-up / step) after the warm-up, which in steps is the same in runs of any length."""
    return warmed(config, step, steps, jnp.sqrt(max(config.warmup(steps), 1) / (step + 1.0)))


SCHEDULE = Schedule(Warmup, factor, check_steps)
