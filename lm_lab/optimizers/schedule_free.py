"""Schedule-Free AdamW: an average of iterates in the place of a falling rate (2405.15682).

Three sequences: z moves by Adam without momentum; x, the average of the z so far, is what the run's
parameters are, evaluates and saves; gradients are taken at y, between the two. The memory is
AdamW's. The schedule should be `constant` with a warm-up, so that a run may be lengthened at any
time. Training losses are those at y. Parameters in bfloat16 lose most of what the average adds to
them late in a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lm_lab.contracts import Averaging, Optimizer, OptimizerConfig
from lm_lab.schema import setting
from lm_lab.types import PyTree


@dataclass(frozen=True)
class Config(OptimizerConfig):
    """The settings of Schedule-Free AdamW."""

    weight_decay: float = setting(
        "decoupled decay, multiplied by the rate; matrices only", 0.1, low=0.0, traced=True
    )
    beta1: float = setting(
        "share of the average in the point where gradients are taken",
        0.9,
        low=0.0,
        high=0.9999999,
        traced=True,
    )
    beta2: float = setting("decay of the second moment", 0.99, low=0.0, high=0.9999999, traced=True)
    epsilon: float = setting("added to the root of the second moment", 1e-8, low=1e-30)
    rate_power: float = setting(
        "an iterate weighs as the largest rate so far to this power", 2.0, low=0.0
    )


class State(NamedTuple):
    """What is kept beside x."""

    z: PyTree
    largest: Array  # rate so far, f32[]
    weight: Array  # of all iterates in the average, f32[]
    inner: PyTree


def make(
    config: Config, hyper: Mapping[str, Array], rate: Array | float, decay_mask: PyTree
) -> optax.GradientTransformation:
    """Of z: -rate * (gradient / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * y)."""
    scaled = optax.scale_by_rms(
        hyper["beta2"], config.epsilon, eps_in_sqrt=False, bias_correction=True
    )
    decay = optax.add_decayed_weights(hyper["weight_decay"], decay_mask)
    return optax.chain(scaled, decay, optax.scale_by_learning_rate(rate))


def wrap(
    config: Config,
    hyper: Mapping[str, Array],
    rate: Array | float,
    inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """x + weight / (sum of weights) * (z - x), after z has moved by `inner`."""

    def init(params: PyTree) -> State:
        return State(params, jnp.float32(0), jnp.float32(0), inner.init(params))

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None
    ) -> tuple[PyTree, State]:
        at = point(config, hyper, state, params)
        moves, inner_state = inner.update(updates, state.inner, at)
        z = optax.apply_updates(state.z, moves)
        largest = jnp.maximum(state.largest, rate)
        own = largest**config.rate_power
        weight = state.weight + own
        share = jnp.where(weight > 0, own / jnp.where(weight > 0, weight, 1.0), 0.0)
        steps = jax.tree.map(lambda new, x: share * (new - x), z, params)
        return steps, State(z, largest, weight, inner_state)

    return optax.GradientTransformation(init, update)


def point(config: Config, hyper: Mapping[str, Array], state: PyTree, params: PyTree) -> PyTree:
    """y = beta1 * x + (1 - beta1) * z, in the dtypes of the parameters."""
    del config
    share = 1 - hyper["beta1"]
    return jax.tree.map(lambda x, z: (x + share * (z - x)).astype(x.dtype), params, state.z)


OPTIMIZER = Optimizer(Config, make, moves_by_rate=True, averaging=Averaging(wrap, point))
