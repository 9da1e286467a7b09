"""An adapter: some parameters are trained, and the rest is stored in eight bits."""

import jax
import jax.numpy as jnp

from lm_lab.adapters.freeze import ADAPTER as FREEZE
from lm_lab.contracts import Adapter
from lm_lab.nn.trees import union
from lm_lab.types import AdapterFunctions


def quantized(leaf):
    """(i8[...], f32[1 ... out]): entries as shares of the largest of their column, in 127 steps."""
    largest = jnp.maximum(jnp.abs(leaf).max(tuple(range(leaf.ndim - 1)), keepdims=True), 1e-12)
    return jnp.round(127 * leaf / largest).astype(jnp.int8), largest / 127


def make(config):
    """The adapter that trains what config.train names."""
    freeze = FREEZE.make(config)

    def split(key, params):
        trained, frozen = freeze.split(key, params)
        return trained, {
            "steps": jax.tree.map(lambda leaf: quantized(leaf)[0], frozen),
            "sizes": jax.tree.map(lambda leaf: quantized(leaf)[1], frozen),
        }

    def merge(trained, frozen):
        return union(trained, jax.tree.map(jnp.multiply, frozen["steps"], frozen["sizes"]))

    def variables(trained, frozen, dtype):
        return {"params": jax.tree.map(lambda x: x.astype(dtype), merge(trained, frozen))}

    return AdapterFunctions(split, variables, merge)


ADAPTER = Adapter(FREEZE.Config, make)
