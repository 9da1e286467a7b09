"""Norms of gradients, updates and parameters, by labels of the parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.types import PyTree

# (gradients, updates, parameters before the step) -> norms by name, f32[], or f32[N] of N layers
Norms = Callable[[PyTree, PyTree, PyTree], dict[str, Array]]


def norms_by(labels: PyTree, stacked: PyTree) -> Norms:
    """The norms of all leaves with a label together: gradient_norm/LABEL, update_norm/LABEL and
    parameter_norm/LABEL.

    `stacked` says of each leaf whether its first axis counts layers, which then have norms of their
    own. Gradients are those before clipping.
    """

    def of(tree: PyTree) -> dict[str, Array]:
        sums: dict[str, Array] = {}
        leaves = (jax.tree.leaves(each) for each in (labels, stacked, tree))
        for label, is_stacked, leaf in zip(*leaves, strict=True):
            axes = tuple(range(1, leaf.ndim)) if is_stacked else None
            total = jnp.square(leaf.astype(jnp.float32)).sum(axes)
            sums[label] = sums[label] + total if label in sums else total
        return {label: jnp.sqrt(total) for label, total in sums.items()}

    def norms(gradients: PyTree, updates: PyTree, params: PyTree) -> dict[str, Array]:
        trees = {"gradient": gradients, "update": updates, "parameter": params}
        return {
            f"{what}_norm/{label}": norm
            for what, tree in trees.items()
            for label, norm in of(tree).items()
        }

    return norms
