"""The yardstick: the likelihood of held-out text, in nats a token and in bits per byte of the original text."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lm_lab.types import Examples, Objective, PyTree, Sums


def likelihood(model: Any, objective: Objective, compute: str) -> Callable[[PyTree, Examples], Sums]:
    """(params, examples [n B S]) -> the objective's sums over n batches; no dropout, and one key for all time."""

    def batch_sums(params: PyTree, examples: Examples) -> Sums:
        batch = objective.prepare(jax.random.key(0), examples)
        return objective.loss(model.apply({"params": params}, batch.inputs), batch)

    def total(params: PyTree, examples: Examples) -> Sums:
        cast = jax.tree.map(lambda x: x.astype(compute), params)
        first = jax.eval_shape(batch_sums, cast, jax.tree.map(lambda x: x[0], examples))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)

        def add(sums: Sums, batch: Examples) -> tuple[Sums, None]:
            return jax.tree.map(jnp.add, sums, batch_sums(cast, batch)), None

        return lax.scan(add, zeros, examples)[0]

    return total


def rates(sums: Mapping[str, Any]) -> dict[str, float]:
    """Nats a target ("nll"), and bits per byte of text ("bits_per_byte") from sums; NaN where nothing was counted.

    What training adds to the nll is no part of it, and stands beside it ("penalty").
    """
    nll, weight, size = (float(sums[name]) for name in ("nll", "weight", "bytes"))
    added = {"penalty": float(sums["penalty"]) / weight if weight else math.nan} if "penalty" in sums else {}
    return {
        "nll": nll / weight if weight else math.nan,
        "bits_per_byte": nll / math.log(2) / size if size else math.nan,
        **added,
    }
