"""A schedule: the inverse square root of the step (1706.03762)."""

import jax.numpy as jnp

from lm_lab.contracts import Schedule
from lm_lab.schedules import Warmup, check_steps, warmed


def factor(config, step, steps):
    """sqrt(warm-up / step), after the warm-up; the same in runs of any length if that is in steps."""
    return warmed(config, step, steps, jnp.sqrt(max(config.warmup(steps), 1) / (step + 1.0)))


SCHEDULE = Schedule(Warmup, factor, check_steps)
