"""Learning rates over a run, one schedule per file; and the linear warm-up that they share."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import ConfigT, Schedule
from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Warmup:
    """The settings of a schedule that begins with a warm-up."""

    warmup_steps: int = setting("linear rise of the rate, in steps", 0, low=0, high=2**31 - 1)
    warmup_fraction: float = setting(
        "the same as a share of the run's steps; the longer of the two counts",
        0.0,
        low=0.0,
        high=1.0,
    )

    def warmup(self, steps: int) -> int:
        """The steps of the warm-up in a run of `steps`."""
        return max(self.warmup_steps, round(self.warmup_fraction * steps))


@dataclass(frozen=True)
class Decay(Warmup):
    """The settings of a schedule that warms up and then falls to a share of the peak rate."""

    final_fraction: float = setting(
        "share of the peak rate that is left at the end", 0.1, low=0.0, high=1.0
    )


def warmed(config: Warmup, step: Array, steps: int, factor: Array) -> Array:
    """The factor, at most a linear rise that reaches 1 after the warm-up of a run of `steps`, and
    is never 0.
    """
    return jnp.minimum((step.astype(jnp.float32) + 1) / max(config.warmup(steps), 1), factor)


def decayed(config: Decay, step: Array, steps: int, shape: Array) -> Array:
    """A fall from 1 to config.final_fraction, where `shape` goes from 1 to 0, after the warm-up."""
    return warmed(config, step, steps, config.final_fraction + (1 - config.final_fraction) * shape)


def progress(config: Warmup, step: Array, steps: int) -> Array:
    """The share of the steps after the warm-up that are done at a step: from 0 to 1, f32[...]."""
    warmup = config.warmup(steps)
    after = step.astype(jnp.float32) - warmup
    return jnp.clip(after / max(steps - warmup, 1), 0, 1)


def check_steps(config: Warmup, steps: int) -> None:
    """Raises UserError where the warm-up does not fit into the run."""
    if config.warmup_steps > steps:
        raise UserError(
            f"config.schedule.warmup_steps {config.warmup_steps} exceeds the run's {steps} "
            "steps; lower it"
        )


def same_rates(
    schedule: Schedule[ConfigT],
    config: ConfigT,
    steps: int,
    other_steps: int,
    until: int,
) -> bool:
    """Whether runs of `steps` and of `other_steps` steps have the same rates before step `until`:
    whether a run may be lengthened from there.
    """
    step = jnp.arange(until)
    return bool(
        (schedule.factor(config, step, steps) == schedule.factor(config, step, other_steps)).all()
    )
