"""A straight line, from the end of the warm-up to the end of the run."""

from jax import Array

from lm_lab.contracts import Schedule
from lm_lab.schedules import Decay, check_steps, decayed, progress


def factor(config: Decay, step: Array, steps: int) -> Array:
    """The share of the peak rate, f32[...]."""
    return decayed(config, step, steps, 1 - progress(config, step, steps))


SCHEDULE = Schedule(Decay, factor, check_steps)
