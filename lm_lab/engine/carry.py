"""The recurrent state that a model carries from a window of text to the next: truncated
back-propagation through time (10.1162/neco.1990.2.4.490). Gradients end where a window begins.

It is the model's own "cache", which decoding goes on from too. Here its leaves are [B ...], rows
first wherever the model has them, so that they are split over microbatches and devices as the batch
is.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.engine import sharding
from lm_lab.engine.state import Slot
from lm_lab.types import Inputs, PyTree

CARRY = "carry"  # the slot


class Carry(NamedTuple):
    """The form of what is carried; empty trees where nothing is."""

    axes: PyTree  # of rows in each leaf of the model's cache
    one: PyTree  # shapes and dtypes of a row

    def start(self, rows: int) -> PyTree:
        """The state before a text: zeros [rows ...]."""
        return jax.tree.map(lambda one: jnp.zeros((rows, *one.shape), one.dtype), self.one)

    def slot(self, rows: int) -> Slot:
        """The slot of the train state. A step writes it; it begins anew where the examples say."""
        return Slot(lambda state, frozen: jax.tree.map(sharding.of_rows, self.start(rows)))

    def apply(
        self, model: Any, variables: PyTree, inputs: Inputs, carry: PyTree, **options: Any
    ) -> tuple[Array, PyTree, PyTree]:
        """(logits, the state behind the inputs, what is sown in "losses") of a model that goes on
        from the state `carry`.
        """
        held = {"cache": jax.tree.map(_moved_back, carry, self.axes)} if carry else {}
        mutable = [*options.pop("mutable", ()), *held]
        logits, changed = model.apply({**variables, **held}, inputs, mutable=mutable, **options)
        after = jax.tree.map(_moved_first, changed.pop("cache"), self.axes) if held else carry
        return logits, after, changed


NOTHING = Carry({}, {})


def carry_of(model: Any, compute: str) -> Carry:
    """The form of the state of a model whose products are in dtype `compute`."""

    def cache(rows: int) -> PyTree:
        tokens = jnp.zeros((rows, 1), jnp.int32)
        drawn = sharding.unbox(model.init(jax.random.key(0), Inputs(tokens))["params"])
        params = jax.tree.map(lambda leaf: leaf.astype(compute), drawn)
        reads = {"mutable": ["cache"], "method": "features"}
        return model.apply({"params": params}, Inputs(tokens), **reads)[1]["cache"]

    def of_row(leaf: jax.ShapeDtypeStruct, axis: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape[:axis] + leaf.shape[axis + 1 :], leaf.dtype)

    two, three = (jax.eval_shape(partial(cache, rows)) for rows in (2, 3))
    axes = jax.tree.map(lambda a, b: int(np.argmax(np.not_equal(a.shape, b.shape))), two, three)
    return Carry(axes, jax.tree.map(of_row, two, axes))


def begun(carry: PyTree, begins_B: Array | None) -> PyTree:
    """The state [B ...] with zeros in the rows that begin a text anew."""

    def where(leaf: Array) -> Array:
        assert begins_B is not None
        return jnp.where(begins_B.reshape(-1, *(1,) * (leaf.ndim - 1)), 0, leaf)

    return jax.tree.map(where, carry)


def _moved_back(leaf: Array, axis: int) -> Array:
    return jnp.moveaxis(leaf, 0, axis)


def _moved_first(leaf: Array, axis: int) -> Array:
    return jnp.moveaxis(leaf, axis, 0)
