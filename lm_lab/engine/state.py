"""The train state, and the slots by which it is extended.

Inside the engine every leaf has a leading axis of members, P, also for a single run; only a slot
that all members share has none.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.optimizers import Updates
from lm_lab.types import Hyper, PyTree

FROZEN = "frozen"
"""The slot of the parameters that an adapter leaves as they are; empty where all are trained."""


class TrainState(NamedTuple):
    """Everything that a step reads and writes: the next state is a function of it and of the step's
    examples.
    """

    step: Array  # i32[]
    params: PyTree  # what is trained
    opt_state: PyTree
    hyper: Hyper
    slots: dict[str, PyTree]


class Slot(NamedTuple):
    """A tree in the state beside parameters and optimizer state, and how it is updated, saved,
    shared and evaluated.

    Its leaves are sharded by their logical axes: those of the parameters that they are made from,
    or those of rows (sharding.of_rows).
    """

    # (state before step 0 with the slots before this one, frozen parameters) -> the tree there
    init: Callable[[TrainState, PyTree], PyTree]
    # (tree, state after the step) -> the tree after the step; None: it never changes, or the step
    # writes it (engine/carry.py)
    update: Callable[[PyTree, TrainState], PyTree] | None = None
    saved: bool = True  # in checkpoints; otherwise `init` makes it again when a run resumes
    shared: bool = (
        False  # one tree for all members, without the member axis; never updated or saved
    )
    evaluated: bool = (
        False  # it also takes the place of the trained parameters in an evaluation of its own
    )


Slots = Mapping[str, Slot]
Optimizer = Callable[[Hyper, Array | float], Updates]  # (hyper, learning rate)
Init = Callable[[Hyper, PyTree], TrainState]  # (hyper, arrays to start with)


def frozen_slot(shared: bool) -> Slot:
    """Parameters that are not trained. Not saved, as they follow from how the run began."""
    return Slot(lambda state, frozen: frozen, saved=False, shared=shared)


def initial_state(
    trained: PyTree, frozen: PyTree, optimizer: Optimizer, hyper: Hyper, slots: Slots
) -> TrainState:
    """The state of one run before step 0. Leaves carry the boxes of the parameters."""
    opt_state = optimizer(hyper, 0.0).init(trained)
    state = TrainState(jnp.int32(0), trained, opt_state, hyper, {})
    for name, slot in slots.items():
        state = state._replace(slots={**state.slots, name: slot.init(state, frozen)})
    return state


def divide(state: TrainState, slots: Slots) -> tuple[TrainState, dict[str, PyTree]]:
    """(the state without the slots that members share, those slots)."""
    shared = {name: tree for name, tree in state.slots.items() if slots[name].shared}
    own = {name: tree for name, tree in state.slots.items() if not slots[name].shared}
    return state._replace(slots=own), shared


def unite(state: TrainState, shared: Mapping[str, PyTree]) -> TrainState:
    """The state with the slots that `divide` took out."""
    return state._replace(slots={**state.slots, **shared})


def member(state: TrainState, index: int, slots: Slots) -> TrainState:
    """The state of one member of a population."""
    own, shared = divide(state, slots)
    return unite(jax.tree.map(lambda leaf: leaf[index], own), shared)


def saved(state: TrainState, slots: Slots) -> dict[str, PyTree]:
    """The part of a state (or of a tree of the same structure) that a checkpoint holds: all but the
    slots that `init` makes again.
    """
    held = {name: tree for name, tree in state._asdict().items() if name != "slots"}
    trees = {name: state.slots[name] for name in saved_slots(slots)}
    return {**held, "slots": trees} if trees else held


def saved_slots(slots: Slots) -> list[str]:
    """The names of the slots that checkpoints hold."""
    return [name for name, slot in slots.items() if slot.saved and not slot.shared]


def loaded(held: Mapping[str, PyTree], unsaved: Mapping[str, PyTree]) -> TrainState:
    """The state, joined from the part that a checkpoint holds and the slots that it leaves out."""
    return TrainState(**{**held, "slots": {**held.get("slots", {}), **unsaved}})
