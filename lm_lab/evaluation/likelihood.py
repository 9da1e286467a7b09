"""Likelihood of held-out text, in nats a token and in bits per byte of the original text."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lm_lab.adapters import none
from lm_lab.types import AdapterFunctions, Examples, ObjectiveFunctions, PyTree, Sums

NAMES = {"correct": "accuracy"}  # names of sums after division by the weight
WHOLE = none.make(none.Config())


def likelihood(
    model: Any, objective: ObjectiveFunctions, compute: str, adapter: AdapterFunctions = WHOLE
) -> Callable[..., Sums]:
    """(params, examples [n B S], frozen) -> sums of the objective over n batches, without dropout.

    The objective always gets the same key.
    """

    def batch_sums(variables: PyTree, examples: Examples) -> Sums:
        batch = objective.prepare(jax.random.key(0), examples)
        return objective.loss(model.apply(variables, batch.inputs), batch)

    def total(params: PyTree, examples: Examples, frozen: PyTree = ()) -> Sums:
        cast = adapter.variables(params, frozen, compute)
        first = jax.eval_shape(batch_sums, cast, jax.tree.map(lambda x: x[0], examples))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)

        def add(sums: Sums, batch: Examples) -> tuple[Sums, None]:
            return jax.tree.map(jnp.add, sums, batch_sums(cast, batch)), None

        return lax.scan(add, zeros, examples)[0]

    return total


def evaluate(
    model: Any,
    objectives: Mapping[str, ObjectiveFunctions],
    compute: str,
    adapter: AdapterFunctions = WHOLE,
) -> Callable[..., dict[str, Sums]]:
    """(params, examples [n B S], frozen) -> sums of each of several objectives.

    All read the same windows.
    """
    totals = {
        name: likelihood(model, objective, compute, adapter)
        for name, objective in objectives.items()
    }
    return lambda *arguments: {name: total(*arguments) for name, total in totals.items()}


def rates(sums: Mapping[str, Any]) -> dict[str, float]:
    """Sums divided by the number of targets: "nll" in nats, "accuracy", and others by their names.

    Where targets stand for text there is also "bits_per_byte". NaN if nothing was counted.
    """
    counts = {name: float(value) for name, value in sums.items()}
    weight, size = counts.pop("weight"), counts.pop("bytes", None)
    means = {
        NAMES.get(name, name): value / weight if weight else math.nan
        for name, value in counts.items()
    }
    if size is not None:
        means["bits_per_byte"] = counts["nll"] / math.log(2) / size if size else math.nan
    return means
