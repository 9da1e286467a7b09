"""States of training for tests of checkpoints, and short ways to save and load them."""

import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.commits import committed, step_of


class Moments(NamedTuple):
    count: jax.Array
    mean: dict


class Nothing(NamedTuple):
    pass


class State(NamedTuple):
    step: jax.Array
    params: dict
    opt_state: tuple
    hyper: dict


def make_state(step: int) -> State:
    """A state that is a function of the step, of every dtype and kind of node that a run has."""
    values = jax.random.normal(jax.random.key(step), (16, 8))
    params = {
        "head": {"kernel": values, "bias": None},
        "half": values.astype(jnp.bfloat16),
        "layers": [values + 1],
    }
    hyper = {"seed": jnp.uint32(2**32 - 1 - step), "rate": jnp.float32(0.1 * step)}
    moments = Moments(jnp.int32(step), {"nan": jnp.array([math.nan, -0.0, math.inf], jnp.float32)})
    return State(jnp.int32(step), params, (moments, Nothing(), None), hyper)


def abstract(state):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)


def assert_same_bits(state, expected):
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, jax.Array)
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def save_steps(directory: Path, steps: list[int], keep: int = 2) -> None:
    with Checkpoints(directory, keep, "spec") as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step), {"seconds": step / 3}, None)


def latest(checkpoints: Checkpoints, target=None):
    found = checkpoints.latest(abstract(make_state(0)) if target is None else target)
    assert found is not None
    return found


def load(directory: Path, target=None, spec_hash: str = "spec"):
    with Checkpoints(directory, 2, spec_hash) as checkpoints:
        return latest(checkpoints, target)


def steps_of(directory: Path) -> list[int]:
    return [step_of(folder) for folder in committed(directory)]
