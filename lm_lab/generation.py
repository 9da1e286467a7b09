"""Text from a model, one token after another, whatever the family remembers of what came before.

A cache is a tree that `init_cache` makes for so many rows and tokens; `advance` takes it, and any number of tokens that
come next, to logits and the next cache. Prompts of unequal length are padded on the left, with segment 0: so all rows
stand at one slot, and a row's text is what it would be alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.types import Inputs, PyTree


def init_cache(model: Any, variables: PyTree, inputs: Inputs) -> PyTree:
    """An empty cache for as many rows and tokens as `inputs` has (arrays, or their shapes)."""
    _, made = jax.eval_shape(lambda v, i: _features(model, v, {}, i), variables, inputs)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made)


def advance(model: Any, variables: PyTree, cache: PyTree, inputs: Inputs) -> tuple[Array, PyTree]:
    """(logits f32[B L V] of the L tokens that come next, the cache that holds them too)."""
    features_BLD, cache = _features(model, variables, cache, inputs)
    return model.apply(variables, features_BLD, method="readout"), cache


def _features(model: Any, variables: PyTree, cache: PyTree, inputs: Inputs) -> tuple[Array, PyTree]:
    held = {"cache": cache} if cache else {}
    features_BLD, changed = model.apply({**variables, **held}, inputs, mutable=["cache"], method="features")
    return features_BLD, changed["cache"]
