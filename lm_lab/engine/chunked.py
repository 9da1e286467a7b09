"""Chunked cross-entropy: the loss by the logits of a part of each row at a time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from lm_lab.types import Batch, ObjectiveFunctions, PyTree, Sums


class Part(NamedTuple):
    """Some positions of all rows."""

    number: Array  # i32[]
    features: Array  # [B C D]
    targets: Array  # as in a batch, [B C]
    weights: Array
    bytes: Array


def outputs(chunk: int | None) -> dict[str, str]:
    """Options of `model.apply` for what the loss reads: logits, or with `chunk` features."""
    return {} if chunk is None else {"method": "features"}


def loss_of(
    model: Any,
    objective: ObjectiveFunctions,
    variables: Callable[[PyTree], PyTree],
    params: PyTree,
    chunk: int | None,
    rngs: Mapping[str, Array] | None = None,
) -> Callable[[Array, Batch], Sums]:
    """(logits [B L V], batch) -> the objective's sums; with `chunk`, of features [B L D].

    `variables` of the parameters are what the model reads. With `chunk`, logits are held of that
    many positions of each row at once, f32[B chunk V], and the backward pass computes them again;
    the objective must be `by_position`.
    """
    if chunk is None:
        return objective.loss

    def loss(features_BLD: Array, batch: Batch) -> Sums:
        @jax.checkpoint
        def sums_of(params: PyTree, part: Part) -> Sums:
            keys = {
                name: jax.random.fold_in(key, part.number) for name, key in (rngs or {}).items()
            }
            # Cast here, so that the gradients of parts are added in the dtype of the parameters.
            read = variables(params)
            logits_BCV = model.apply(read, part.features, method="readout", rngs=keys)
            targets = {"targets": part.targets, "weights": part.weights, "bytes": part.bytes}
            return objective.loss(logits_BCV, batch._replace(**targets))

        def add(total: Sums, part: Part) -> tuple[Sums, None]:
            return jax.tree.map(jnp.add, total, sums_of(params, part)), None

        parts = _parts(features_BLD, batch, chunk)
        shapes = jax.eval_shape(sums_of, params, jax.tree.map(lambda leaf: leaf[0], parts))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return lax.scan(add, zeros, parts)[0]

    return loss


def _parts(features_BLD: Array, batch: Batch, chunk: int) -> Part:
    """The rows in n parts of C positions, [n ...]; what fills up the last part has weight 0."""
    leaves = features_BLD, batch.targets, batch.weights, batch.bytes
    parts = [split_positions(leaf, chunk) for leaf in leaves]
    return Part(jnp.arange(len(parts[0])), *parts)


def split_positions(leaf: Array, chunk: int) -> Array:
    """[B L ...] in n parts of C positions, at most `chunk`: [n B C ...], filled up with zeros."""
    length = leaf.shape[1]
    size = min(chunk, length)
    count = -(-length // size)
    filled = jnp.pad(leaf, ((0, 0), (0, count * size - length), *[(0, 0)] * (leaf.ndim - 2)))
    return jnp.moveaxis(filled.reshape(len(leaf), count, size, *leaf.shape[2:]), 1, 0)


def join_positions(parts: Array, length: int) -> Array:
    """[B L ...] of the parts [n B C ...] that `split_positions` made of it."""
    count, rows, size = parts.shape[:3]
    joined = jnp.moveaxis(parts, 0, 1).reshape(rows, count * size, *parts.shape[3:])
    return joined[:, :length]
