"""The peak rate for a while, and then falls at even intervals, each by the same factor (1409.2329,
1512.03385).
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Schedule
from lm_lab.schedules import Warmup, check_steps, warmed
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config(Warmup):
    """The settings of the schedule. With hold_fraction 4 / 13 and 9 falls, the rate of a run of 13
    epochs falls at the end of the fourth, and of each after it but the last.
    """

    hold_fraction: float = setting(
        "share of the run's steps before the first fall", 0.5, low=0.0, high=1.0
    )
    falls: int = setting("how often the rate falls, at even intervals from then on", 2, low=1)
    factor: float = setting("by what each fall multiplies the rate", 0.1, low=0.0, high=1.0)


def factor(config: Config, step: Array, steps: int) -> Array:
    """The share of the peak rate, f32[...]."""
    interval = (1 - config.hold_fraction) / config.falls
    places = [config.hold_fraction + fall * interval for fall in range(config.falls)]
    begun = jnp.asarray([round(place * steps) for place in places])
    fallen = (step[..., None] >= begun).sum(-1)
    return warmed(config, step, steps, jnp.float32(config.factor) ** fallen)


SCHEDULE = Schedule(Config, factor, check_steps)
