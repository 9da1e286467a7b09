"""How the parameters of a run follow from gradients: its optimizer, and the schedule of its rate.

What runs of one program may differ in comes from the state, as arrays.
"""

from typing import NamedTuple

import optax
from jax import Array

from lm_lab import registry, schedules
from lm_lab.contracts import Schedule
from lm_lab.optimizers import clipped
from lm_lab.schema import Chosen
from lm_lab.types import Hyper, PyTree


class Update(NamedTuple):
    """The optimizer and the schedule that a config names, with their settings."""

    optimizer: Chosen
    schedule: Chosen

    def check_steps(self, steps: int) -> None:
        """Raises UserError where the schedule does not fit into a run of so many steps."""
        _schedule(self).check_steps(self.schedule.settings, steps)


def rate_factor(update: Update, step: Array, steps: int) -> Array:
    """The schedule as a share of the peak rate, f32[], at step i32[] of `steps` in all."""
    return _schedule(update).factor(update.schedule.settings, step, steps)


def same_rates(update: Update, steps: int, other_steps: int, until: int) -> bool:
    """Whether runs of `steps` and of `other_steps` steps have the same rates in their first `until`
    steps.
    """
    settings = update.schedule.settings
    return schedules.same_rates(_schedule(update), settings, steps, other_steps, until)


def make(
    update: Update, decays: PyTree, hyper: Hyper, rate: Array | float
) -> optax.GradientTransformation:
    """Clipping, then the optimizer at `rate`; `decays` has a bool for each parameter."""
    name, settings = update.optimizer
    optimizer = registry.load("optimizers", name, "config.optimizer.name")
    made = optimizer.make(settings, hyper, rate, decays)
    return clipped(settings.clip_norm, made)


def _schedule(update: Update) -> Schedule:
    return registry.load("schedules", update.schedule.name, "config.schedule.name")
