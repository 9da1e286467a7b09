"""How the parameters of a run follow from gradients: its optimizer, and the schedule of its rate.

Settings in which the runs of one program may differ come from the state, as arrays.
"""

from typing import Literal, NamedTuple

import jax
from jax import Array

from lm_lab import registry, schedules
from lm_lab.contracts import Optimizer, OptimizerConfig, Schedule, Settings
from lm_lab.optimizers import Updates, composed
from lm_lab.optimizers._groups import labels_of, name_of
from lm_lab.schema import Chosen
from lm_lab.types import Hyper, PyTree


class Update(NamedTuple):
    """The optimizer and the schedule of a run, with their settings."""

    optimizer: Optimizer
    optimizer_config: OptimizerConfig
    schedule: Schedule
    schedule_config: Settings

    def check_steps(self, steps: int) -> None:
        """Raises UserError where the schedule does not fit into a run of so many steps."""
        self.schedule.check_steps(self.schedule_config, steps)

    def rate_factor(self, step: Array, steps: int) -> Array:
        """The schedule as a share of the peak rate, f32[], at step i32[] of `steps` in all."""
        return self.schedule.factor(self.schedule_config, step, steps)

    def same_rates(self, steps: int, other_steps: int, until: int) -> bool:
        """Whether runs of `steps` and of `other_steps` steps have the same rates in their first
        `until` steps.
        """
        given = (self.schedule, self.schedule_config)
        return schedules.same_rates(*given, steps, other_steps, until)

    def labels(self, by: Literal["parts", "groups", "layers"], roles: PyTree) -> PyTree:
        """The label under which the norms of each parameter are recorded."""
        if by == "parts":
            return jax.tree.map(lambda role: role.part, roles)
        if by == "layers":
            return jax.tree_util.tree_map_with_path(lambda path, _: name_of(path), roles)
        labels = labels_of(self.optimizer_config.groups, roles)
        return jax.tree.map(lambda label: label or "others", labels)

    def make(self, roles: PyTree, hyper: Hyper, rate: Array | float) -> Updates:
        """The optimizer at `rate`, complete; `roles` has a Role for each parameter."""
        return composed(self.optimizer, self.optimizer_config, hyper, rate, roles)


def load(optimizer: Chosen, schedule: Chosen) -> Update:
    """The optimizer and the schedule that a config names. Raises UserError where there is none."""
    return Update(
        registry.load("optimizers", optimizer.name, "config.optimizer.name"),
        optimizer.settings,
        registry.load("schedules", schedule.name, "config.schedule.name"),
        schedule.settings,
    )
