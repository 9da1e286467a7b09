"""AdamW and the schedules of its rate. What runs of one program may differ in comes from the state,
as arrays.
"""

from dataclasses import dataclass, fields
from typing import Literal

import jax.numpy as jnp
import optax
from jax import Array

from lm_lab.optimizers import adamw, clipped, decay_mask
from lm_lab.schedules import constant, cosine, linear, wsd
from lm_lab.schema import setting
from lm_lab.types import Hyper, UserError


@dataclass(frozen=True)
class Config:
    """The fields of a config's optimizer section."""

    name: Literal["adamw"] = setting("which optimizer", "adamw")
    peak_rate: float = setting("learning rate after warm-up", 1e-3, above=0.0, traced=True)
    schedule: Literal["cosine", "linear", "constant", "wsd"] = setting(
        "of the rate after warm-up", "cosine"
    )
    warmup_steps: int = setting("linear rise of the rate, in steps", 0, low=0, high=2**31 - 1)
    decay_fraction: float = setting(
        "last share of the steps in which wsd falls", 0.2, low=0.0, high=1.0
    )
    final_fraction: float = setting(
        "share of the peak rate that is left at the end", 0.1, low=0.0, high=1.0
    )
    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.1, low=0.0, traced=True
    )
    beta1: float = setting("decay of the first moment", 0.9, low=0.0, high=0.9999999, traced=True)
    beta2: float = setting("decay of the second moment", 0.99, low=0.0, high=0.9999999, traced=True)
    epsilon: float = setting("added to the root of the second moment", 1e-8, low=1e-30)
    clip_norm: float | None = setting(
        "largest global norm of the gradient; None: no clipping", 1.0, above=0.0
    )

    def check_steps(self, steps: int) -> None:
        """Raises UserError where the warm-up does not fit into the run."""
        if self.warmup_steps > steps:
            raise UserError(
                f"config.optimizer.warmup_steps {self.warmup_steps} exceeds the run's {steps} "
                "steps; lower it"
            )


def rate_factor(config: Config, step: Array, steps: int) -> Array:
    """The schedule as a share of the peak rate, f32[], at step i32[] of `steps` in all."""
    schedule = {"cosine": cosine, "linear": linear, "constant": constant, "wsd": wsd}[
        config.schedule
    ].SCHEDULE
    names = [field.name for field in fields(schedule.Config)]
    settings = schedule.Config(**{name: getattr(config, name) for name in names})
    return schedule.factor(settings, step, steps)


def same_rates(config: Config, steps: int, other_steps: int, until: int) -> bool:
    """Whether runs of `steps` and of `other_steps` steps have the same rates in their first `until`
    steps.
    """
    now = jnp.arange(until)
    return bool((rate_factor(config, now, steps) == rate_factor(config, now, other_steps)).all())


def make(config: Config, hyper: Hyper, rate: Array | float) -> optax.GradientTransformation:
    """Clipping, then AdamW at `rate`."""
    settings = adamw.Config(epsilon=config.epsilon)
    return clipped(config.clip_norm, adamw.make(settings, hyper, rate, decay_mask))
