"""The state that a model carries from a window of text to the next: that of a recurrence, by
truncated back-propagation through time (10.1162/neco.1990.2.4.490), or the keys and values of the
last tokens, the memory of Transformer-XL (1901.02860). Gradients end where a window begins.

It is the model's own "cache", which decoding goes on from too. Here its leaves are [B ...], rows
first wherever the model has them, so that they are split over microbatches and devices as the batch
is.
"""

from collections.abc import Callable
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
SHARED = -1  # the axis of rows of a leaf that has none


class Carry(NamedTuple):
    """The form of what is carried; empty trees where nothing is."""

    axes: PyTree  # of rows in each leaf of the model's cache, or SHARED
    one: PyTree  # shapes and dtypes of a row
    # the same state of a model, whose numbers stay small however long the text
    bounded: Callable[[PyTree], PyTree] = lambda cache: cache

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
        if held:  # positions count from the text's beginning, and not from the window's
            inputs = inputs._replace(positions=None)
        mutable = [*options.pop("mutable", ()), *held]
        logits, changed = model.apply({**variables, **held}, inputs, mutable=mutable, **options)
        if not held:
            return logits, carry, changed
        moved_first = partial(_moved_first, len(inputs.tokens))
        after = self.bounded(changed.pop("cache"))
        return logits, jax.tree.map(moved_first, after, self.axes), changed


NOTHING = Carry({}, {})


def carry_of(
    model: Any,
    compute: str,
    memory: int = 1,
    bounded: Callable[[PyTree], PyTree] = NOTHING.bounded,
) -> Carry:
    """The form of the state of a model whose products are in dtype `compute`, and whose attention
    sees `memory` tokens; `bounded` as in Carry.
    """

    def cache(rows: int) -> PyTree:
        tokens = jnp.zeros((rows, memory), jnp.int32)
        drawn = sharding.unbox(model.init(jax.random.key(0), Inputs(tokens))["params"])
        params = jax.tree.map(lambda leaf: leaf.astype(compute), drawn)
        reads = {"mutable": ["cache"], "method": "features"}
        return model.apply({"params": params}, Inputs(tokens), **reads)[1]["cache"]

    def axis_of(two: jax.ShapeDtypeStruct, three: jax.ShapeDtypeStruct) -> int:
        differ = np.not_equal(two.shape, three.shape)
        return int(np.argmax(differ)) if differ.any() else SHARED

    def of_row(leaf: jax.ShapeDtypeStruct, axis: int) -> jax.ShapeDtypeStruct:
        rest = leaf.shape if axis == SHARED else leaf.shape[:axis] + leaf.shape[axis + 1 :]
        return jax.ShapeDtypeStruct(rest, leaf.dtype)

    two, three = (jax.eval_shape(partial(cache, rows)) for rows in (2, 3))
    axes = jax.tree.map(axis_of, two, three)
    return Carry(axes, jax.tree.map(of_row, two, axes), bounded)


def begun(carry: PyTree, begins_B: Array | None) -> PyTree:
    """The state [B ...] with zeros in the rows that begin a text anew."""

    def where(leaf: Array) -> Array:
        assert begins_B is not None
        return jnp.where(begins_B.reshape(-1, *(1,) * (leaf.ndim - 1)), 0, leaf)

    return jax.tree.map(where, carry)


def _moved_back(leaf: Array, axis: int) -> Array:
    """A leaf as the model has it. What rows share, a number of tokens, is the largest: that of rows
    which did not begin a text anew.
    """
    return leaf.max(0) if axis == SHARED else jnp.moveaxis(leaf, 0, axis)


def _moved_first(rows: int, leaf: Array, axis: int) -> Array:
    if axis == SHARED:
        return jnp.broadcast_to(leaf, (rows, *leaf.shape))
    return jnp.moveaxis(leaf, axis, 0)
