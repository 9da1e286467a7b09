"""Gradients that groups of devices keep to themselves until a step's loops are over.

The gradient of rows that the mesh splits is a sum over devices. Within a loop (over microbatches,
over the ticks of a pipeline, over chunks of the loss) XLA takes that sum in each pass, although all
that a step needs is the sum of the passes. Here rows get a leading axis of groups, split over the
mesh axes along which each device has the whole gradient, and a vmap over it gives the gradient of
each group: an array [groups ...] of which each device holds one entry, as much memory as the sum.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec as P

from lm_lab.engine.carry import NOTHING
from lm_lab.engine.step import Gradients, accumulate
from lm_lab.nn import dropout, splits
from lm_lab.types import Batch, PyTree, Sums


def summed_last(gradient: Gradients, microbatches: int, axes: tuple[str, ...]) -> Gradients:
    """`accumulate`, whose sums over the mesh axes `axes` are taken once, behind all loops. Equals
    it up to the order of sums; where the context has no such mesh it is `accumulate` itself.
    """

    def summed(
        params: PyTree, batch: Batch, key: Array, frozen: PyTree = (), carry: PyTree = NOTHING.one
    ) -> tuple[PyTree, tuple[Sums, PyTree]]:
        count = splits.devices_along(axes)
        each = gradient if count == 1 else by_group(gradient, axes, count)
        grads, (sums, carry) = accumulate(each, microbatches)(params, batch, key, frozen, carry)
        if count > 1:
            grads, sums = jax.tree.map(lambda leaf: leaf.sum(0), (grads, sums))
        return grads, (sums, carry)

    return summed


def by_group(gradient: Gradients, axes: tuple[str, ...], groups: int) -> Gradients:
    """The gradient and the sums [groups ...] of each group's rows of a batch [B ...]; random
    numbers are those of the whole batch.
    """

    def grouped(
        params: PyTree, batch: Batch, key: Array, frozen: PyTree, carry: PyTree
    ) -> tuple[PyTree, tuple[Sums, PyTree]]:
        def of_group(number: Array, batch: Batch, carry: PyTree):
            with splits.grouped(axes), dropout.of_group(groups, number):
                return gradient(params, batch, key, frozen, carry)

        def cut(leaf: Array) -> Array:
            leaf = leaf.reshape(groups, -1, *leaf.shape[1:])
            return lax.with_sharding_constraint(leaf, P(axes, *[splits.ANY] * (leaf.ndim - 1)))

        each = jax.vmap(of_group, spmd_axis_name=axes)
        grads, (sums, carry) = each(jnp.arange(groups), *jax.tree.map(cut, (batch, carry)))
        return grads, (sums, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), carry))

    return grouped
