"""Checks of what the functions of outside modules return, made when they are called."""

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.types import (
    AdapterFunctions,
    Batch,
    Examples,
    Inputs,
    ObjectiveFunctions,
    PyTree,
    UserError,
)

T = TypeVar("T")


def objective(module: str, made: object, bytes_of: np.ndarray) -> ObjectiveFunctions:
    """The objective that a module made, with checks of its batches and sums that run while it is
    traced. Examples that have no bytes get them from the tokenizer's table u16[vocab].
    """
    functions = _require(module, "make", made, ObjectiveFunctions)

    def prepare(key: Array, examples: Examples) -> Batch:
        whole = _sized(examples, bytes_of)
        return _require(module, "prepare", functions.prepare(key, whole), Batch)

    return functions._replace(prepare=prepare)


def _sized(examples: Examples, bytes_of: np.ndarray) -> Examples:
    """The examples with the bytes of their tokens, looked up where they have none: on the device of
    a train program, to which a loader then sends half as much.
    """
    if examples.bytes is not None:
        return examples
    table, segments = jnp.asarray(bytes_of, jnp.float32), examples.segments
    sizes = jnp.take(table, examples.tokens, mode="clip")
    return examples._replace(bytes=sizes if segments is None else sizes * (segments > 0))


def initial_params(
    module: str, model: Any, key: Array, inputs: Inputs, vocab: int | None
) -> PyTree:
    """The parameters that a Linen module of the family `module` draws. Raises UserError where it
    gives no logits [B L vocab] of the inputs; a `vocab` of None asks for none.
    """
    logits, variables = model.init_with_output(key, inputs)
    if vocab is None:
        return variables["params"]
    shape = (*inputs.tokens.shape, vocab)
    if not isinstance(logits, Array) or logits.shape != shape:
        found = f"a {type(logits).__name__}"
        if isinstance(logits, Array):
            found = f"{logits.dtype}{list(logits.shape)}"
        raise UserError(
            f"config.model.family: a model of {module!r} gives {found} for tokens "
            f"i32{list(inputs.tokens.shape)}; return logits f32{list(shape)}"
        )
    return variables["params"]


def adapter(module: str, made: object) -> AdapterFunctions:
    """The adapter that a module made. Raises UserError for something else."""
    return _require(module, "make", made, AdapterFunctions)


def _require(module: str, name: str, value: object, wanted: type[T]) -> T:
    if not isinstance(value, wanted):
        found = f"gives a {type(value).__name__}, not a lm_lab.types.{wanted.__name__}"
        raise UserError(f"{module!r} has a {name} that {found}; return one")
    return value
