"""Shapes of what a task reads, known before any of it is read."""

from typing import Protocol

import jax
import jax.numpy as jnp

from lm_lab.contracts import Objective
from lm_lab.data.records import TEXTS
from lm_lab.train.experiment import Experiment
from lm_lab.types import ANSWERS, Examples, Inputs, ObjectiveFunctions


class Bound(Protocol):
    """What of a task (train/task.py) decides the shapes."""

    @property
    def experiment(self) -> Experiment:
        """The settings."""
        ...

    @property
    def objective_kind(self) -> Objective:
        """What the objective reads."""
        ...

    @property
    def objective(self) -> ObjectiveFunctions:
        """The objective with its settings."""
        ...

    @property
    def window(self) -> tuple[int, int]:
        """(tokens in a window, tokens from one window to the next)."""
        ...


def example_inputs(task: Bound) -> Inputs:
    """Shapes and dtypes of the inputs of one row, which initialisation needs. `prepare` is traced
    for them: called, it would compile each of its operations alone.
    """
    key = jax.eval_shape(jax.random.key, 0)
    return jax.eval_shape(task.objective.prepare, key, abstract_examples(task, 1)).inputs


def abstract_examples(task: Bound, rows: int) -> Examples:
    """Shapes and dtypes of `rows` windows of examples."""
    make, shape, data = jax.ShapeDtypeStruct, (rows, task.window[0]), task.experiment.data
    records = task.objective_kind.consumes != "stream"
    segments = make(shape, jnp.int32) if records or data.segmented else None
    begins = make((rows,), jnp.bool_) if task.experiment.train.carry_state else None
    examples = Examples(make(shape, jnp.int32), None, segments, begins=begins)  # type: ignore[arg-type]
    if task.objective_kind.consumes == "pairs":
        context = (rows, data.context_length or data.length)
        return examples._replace(
            context=make(context, jnp.int32), context_segments=make(context, jnp.int32)
        )
    alone = (rows, ANSWERS) if task.objective_kind.consumes == "preferences" else (rows,)
    labels = (rows, TEXTS) if data.pack else alone
    compares = task.objective_kind.reference is not None
    return examples._replace(
        labels=make(labels, jnp.float32) if records else None,
        reference=make(labels, jnp.float32) if compares else None,
    )
