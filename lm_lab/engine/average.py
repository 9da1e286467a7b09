"""Exponential moving averages of the trained parameters (Polyak and Juditsky, 1992; 2312.02696)."""

from typing import Any

import jax
import jax.numpy as jnp

from lm_lab.engine.state import Slot, TrainState
from lm_lab.types import PyTree

AVERAGE = "average"  # the slot


def average_slot() -> Slot:
    """average = decay * average + (1 - decay) * params after every step, in float32.

    In the first steps the decay is at most (1 + step) / (10 + step), so that the parameters with
    which the run began are soon forgotten.
    """
    return Slot(_start, _update, evaluated=True)


def _start(state: TrainState, frozen: PyTree) -> PyTree:
    del frozen
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), state.params)


def _update(average: PyTree, state: TrainState) -> PyTree:
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(state.hyper["average_decay"], (1 + step) / (10 + step))

    def moved(old: Any, new: Any) -> Any:
        return old + (1 - decay) * (new.astype(jnp.float32) - old)

    return jax.tree.map(moved, average, state.params)
