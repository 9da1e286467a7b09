"""Checks of what the functions of outside modules return, made when they are called."""

from typing import TypeVar

from jax import Array

from lm_lab.types import AdapterFunctions, Batch, Examples, ObjectiveFunctions, UserError

T = TypeVar("T")


def objective(module: str, made: object) -> ObjectiveFunctions:
    """The objective that a module made, with checks of its batches and sums that run while it is
    traced.
    """
    functions = _require(module, "make", made, ObjectiveFunctions)

    def prepare(key: Array, examples: Examples) -> Batch:
        return _require(module, "prepare", functions.prepare(key, examples), Batch)

    return functions._replace(prepare=prepare)


def adapter(module: str, made: object) -> AdapterFunctions:
    """The adapter that a module made. Raises UserError for something else."""
    return _require(module, "make", made, AdapterFunctions)


def _require(module: str, name: str, value: object, wanted: type[T]) -> T:
    if not isinstance(value, wanted):
        found = f"gives a {type(value).__name__}, not a lm_lab.types.{wanted.__name__}"
        raise UserError(f"{module!r} has a {name} that {found}; return one")
    return value
