"""What the functions that a module makes must give, checked where they are called."""

from collections.abc import Callable
from typing import Any

from lm_lab.types import AdapterFunctions, Batch, ObjectiveFunctions, UserError


def objective(module: str, made: Any) -> ObjectiveFunctions:
    """The objective that a module made, which says what is wrong with its batches and sums where
    they are traced.
    """
    _require(module, "make", made, ObjectiveFunctions)

    def prepare(key: Any, examples: Any) -> Batch:
        return _require(module, "prepare", made.prepare(key, examples), Batch)

    return ObjectiveFunctions(prepare, made.loss)


def adapter(module: str, made: Any) -> AdapterFunctions:
    """The adapter that a module made. Raises UserError for something else."""
    return _require(module, "make", made, AdapterFunctions)


def _require(module: str, name: str, value: Any, wanted: Callable) -> Any:
    if not isinstance(value, wanted):  # type: ignore[arg-type]
        found = f"gives a {type(value).__name__}, not a lm_lab.types.{wanted.__name__}"
        raise UserError(f"{module!r} has a {name} that {found}; return one")
    return value
