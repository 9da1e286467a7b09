"""Likelihood of held-out text, in nats a token and in bits per byte of the original text."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lm_lab.adapters import none
from lm_lab.engine.carry import NOTHING, Carry, begun
from lm_lab.engine.chunked import loss_of, outputs
from lm_lab.types import AdapterFunctions, Examples, ObjectiveFunctions, PyTree, Sums

NAMES = {"correct": "accuracy"}  # names of sums after division by the weight
SELECTION = "selection"  # the evaluation NAME_selection is for choosing settings
WHOLE = none.make(none.Config())


def likelihood(
    model: Any,
    objective: ObjectiveFunctions,
    compute: str,
    adapter: AdapterFunctions = WHOLE,
    form: Carry = NOTHING,
    chunk: int | None = None,
) -> Callable[..., Sums]:
    """(params, examples [n B S], frozen) -> sums of the objective over n batches, without dropout.

    The objective always gets the same key. A recurrent state of this form goes from batch to batch.
    With `chunk`, logits are held of so many positions of each row at once (engine/chunked.py).
    """

    in_two = _in_two(model, objective, compute, adapter, 0, form, chunk)
    return lambda *arguments: in_two(*arguments)[1]


def _in_two(
    model: Any,
    objective: ObjectiveFunctions,
    compute: str,
    adapter: AdapterFunctions,
    first: int,
    form: Carry,
    chunk: int | None,
) -> Callable[..., tuple[Sums, Sums]]:
    """(params, examples [n B S], frozen) -> the sums over the `first` batches, and over the rest.

    One scan adds up both, so that the model is compiled once.
    """

    def batch_sums(variables: PyTree, examples: Examples, carry: PyTree) -> tuple[Sums, PyTree]:
        batch = objective.prepare(jax.random.key(0), examples)
        carry = begun(carry, examples.begins)
        read = variables, batch.inputs, carry
        output, next_carry, _ = form.apply(model, *read, **outputs(chunk))
        return loss_of(model, objective, dict, variables, chunk)(output, batch), next_carry

    def total(params: PyTree, examples: Examples, frozen: PyTree = ()) -> tuple[Sums, Sums]:
        cast = adapter.variables(params, frozen, compute)
        start = form.start(examples.tokens.shape[1])
        batch = jax.tree.map(lambda x: x[0], examples)
        shapes, _ = jax.eval_shape(batch_sums, cast, batch, start)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def add(
            so_far: tuple[Sums, PyTree], batch: tuple[jax.Array, Examples]
        ) -> tuple[tuple[Sums, PyTree], Sums]:
            (sums, carry), (number, examples_of_batch) = so_far, batch
            sums_before = jax.tree.map(lambda x: jnp.where(number == first, 0, x), sums)
            sums_of_batch, after = batch_sums(cast, examples_of_batch, carry)
            sums = jax.tree.map(jnp.add, sums_before, sums_of_batch)
            return (sums, after), sums

        numbers = jnp.arange(len(examples.tokens))
        (reported, _), so_far = lax.scan(add, (zeros, start), (numbers, examples))
        return jax.tree.map(lambda x: x[max(first - 1, 0)], so_far), reported

    return total


def evaluate(
    model: Any,
    objectives: Mapping[str, ObjectiveFunctions],
    compute: str,
    adapter: AdapterFunctions = WHOLE,
    selection: int = 0,
    form: Carry = NOTHING,
    chunk: int | None = None,
) -> Callable[..., dict[str, Sums]]:
    """(params, examples [n B S], frozen) -> sums of each of several objectives.

    All objectives read the same windows, and carry a state of this form. The first `selection`
    batches are summed separately, as NAME_selection.
    """
    totals = {
        name: _in_two(model, objective, compute, adapter, selection, form, chunk)
        for name, objective in objectives.items()
    }

    def every(*arguments: Any) -> dict[str, Sums]:
        parts = {name: total(*arguments) for name, total in totals.items()}
        reported = {name: rest for name, (_, rest) in parts.items()}
        selection_sums = {f"{name}_{SELECTION}": first for name, (first, _) in parts.items()}
        return reported | selection_sums if selection else reported

    return every


def figures(
    sums: Mapping[str, Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, float]],
    tasks: Mapping[str, Mapping[str, float]],
) -> dict[str, float]:
    """The figures that a run records, as eval/NAME/FIGURE: the rates of the sums and other metrics
    by the name of the evaluation, and the metrics of tasks by label.
    """
    of_tasks = {
        f"eval/{label}/{name}": value
        for label, values in tasks.items()
        for name, value in values.items()
    }
    of_sums = {
        f"eval/{evaluation}/{name}": value
        for evaluation, values in sums.items()
        for name, value in (rates(values) | dict(measured.get(evaluation, {}))).items()
    }
    return of_sums | of_tasks


def rates(sums: Mapping[str, Any]) -> dict[str, float]:
    """Sums divided by the number of targets: "nll" in nats, "accuracy", and others by their names.

    If the targets have bytes there is also "bits_per_byte". NaN if nothing was counted.
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
