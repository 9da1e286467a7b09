"""What a step does whose loss or gradient is not finite: a policy of the config, and the step that
keeps to it. Everything is a function of the state, so that a run resumes to the same bits, and each
member of a population goes its own way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.engine.carry import CARRY
from lm_lab.engine.state import Slot, Slots, TrainState
from lm_lab.engine.step import LAST, Metrics, Step
from lm_lab.schema import setting
from lm_lab.types import Examples, PyTree

KEPT = "kept"  # the slot
LOST = "lost"  # the metric: 1 for a step that changed nothing or went back, else 0


@dataclass(frozen=True)
class Stop:
    """The run ends at that step, as diverged."""


@dataclass(frozen=True)
class Skip:
    """The step changes nothing, and the next one reads the text that follows."""

    limit: int = setting("skipped steps in a row at which the run has diverged", 10, low=1)


@dataclass(frozen=True)
class RollBack:
    """Parameters, optimizer and averages go back to those that were kept last, which takes as much
    memory again; the next step reads the text that follows, at the rate of its place in the run.
    """

    every_steps: int = setting("steps between the states that are kept", 100, low=1)
    limit: int = setting("times to go back at which the run has diverged", 10, low=1)


Policy = Stop | Skip | RollBack
POLICIES: Mapping[str, type] = {"stop": Stop, "skip": Skip, "roll_back": RollBack}


class Trained(NamedTuple):
    """What training changes of a state."""

    params: PyTree
    opt_state: PyTree
    slots: dict[str, PyTree]  # those that follow the parameters


def trained(state: TrainState, names: list[str]) -> Trained:
    """The part of a state that training changes, with these slots."""
    return Trained(state.params, state.opt_state, {name: state.slots[name] for name in names})


def following(slots: Slots) -> list[str]:
    """The names of the slots that follow the parameters."""
    return [name for name, slot in slots.items() if slot.update]


def with_policy(slots: Slots, policy: Policy) -> Slots:
    """The slots that the policy needs: of RollBack also the state that was kept last."""
    if not isinstance(policy, RollBack):
        return slots
    names = following(slots)
    return {**slots, KEPT: Slot(lambda state, frozen: trained(state, names)._asdict())}


def guarded(step: Step, policy: Policy, slots: Slots) -> Step:
    """The step under a policy: one that is not finite counts, reads its text and trains nothing.

    Its sums are 0 and its metric LOST is 1; a carried state begins anew behind it. Other steps are
    those of `step`.
    """
    if isinstance(policy, Stop):
        return step
    names = following(slots)

    def kept_to(state: TrainState, examples: Examples) -> tuple[TrainState, Metrics]:
        after, metrics = step(state, examples)
        is_lost = ~(jnp.isfinite(metrics["nll"]) & jnp.isfinite(metrics["gradient_norm"]))
        past = trained(state, names)
        if isinstance(policy, RollBack):
            past = Trained(**state.slots[KEPT])
        now = _where(is_lost, past, trained(after, names))
        held = {**after.slots, **now.slots}
        if CARRY in held:
            held[CARRY] = jax.tree.map(lambda leaf: jnp.where(is_lost, 0, leaf), held[CARRY])
        if isinstance(policy, RollBack):
            is_due = after.step % policy.every_steps == 0
            held[KEPT] = _where(is_due, now._asdict(), state.slots[KEPT])
        sums = {
            name: value if name in LAST else jnp.where(is_lost, 0, value)
            for name, value in metrics.items()
        }
        after = after._replace(params=now.params, opt_state=now.opt_state, slots=held)
        return after, {**sums, LOST: is_lost.astype(jnp.float32)}

    return kept_to


def _where(condition: Array, one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
