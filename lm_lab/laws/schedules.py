"""The laws of a schedule, tried on runs of 1, 2 and 100 steps."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab.contracts import Schedule
from lm_lab.laws import TOLERANCE, expect, tiny
from lm_lab.laws.settings import settings

LENGTHS = (1, 2, 100)


class Subject(NamedTuple):
    """A schedule with its settings."""

    schedule: Schedule
    config: Any

    def factors(self, steps: int) -> np.ndarray:
        """f32[steps + 1]: the factor at each step of a run, and at its end."""
        step = jnp.arange(steps + 1)
        factors_of_steps = jax.vmap(lambda step: self.schedule.factor(self.config, step, steps))
        return np.asarray(jax.jit(factors_of_steps)(step))

    def effect(self, config: Any) -> object:
        """Everything that such settings decide: the factors of a run."""
        return Subject(self.schedule, config).factors(LENGTHS[-1]).tobytes()


def subject(schedule: Schedule, given: Mapping[str, object]) -> Subject:
    """The schedule with these settings. Raises UserError for wrong ones."""
    return Subject(schedule, tiny(schedule.Config, {}, given))


def laws(subject: Subject) -> list[Callable[[Subject], None]]:
    """All of them."""
    del subject
    return [share, single_steps, settings]


def share(subject: Subject) -> None:
    """The factor is finite and from 0 to 1 at every step, and above 0 at one."""
    for steps in LENGTHS:
        factors = subject.factors(steps)
        for step, factor in enumerate(factors.tolist()):
            expect(0 <= factor <= 1, f"the factor at step {step} of {steps} is {factor:.4g}")
        expect(factors[:steps].max() > 0, f"all factors of a run of {steps} steps are 0")


def single_steps(subject: Subject) -> None:
    """The factor is a function of the step, one at a time or many at once."""
    steps, factors = LENGTHS[-1], subject.factors(LENGTHS[-1])
    many = np.asarray(subject.schedule.factor(subject.config, jnp.arange(steps + 1), steps))
    expect(many.shape == factors.shape, f"the factors of i32[{steps + 1}] are f32{many.shape}")
    for step in (0, steps // 2, steps - 1):
        one = float(subject.schedule.factor(subject.config, jnp.int32(step), steps))
        for other in (factors[step], many[step]):
            expect(abs(one - float(other)) < TOLERANCE, f"step {step} has factors {one}, {other}")
