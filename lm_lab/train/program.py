"""What a run compiles to: its step as a pure function, and what that costs. Nothing here touches
the disk.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.compute import conventions, flops, parameters
from lm_lab.engine import sharding
from lm_lab.engine import step as steps_of
from lm_lab.train.task import Task
from lm_lab.types import (
    AdapterFunctions,
    Batch,
    Examples,
    Hyper,
    ObjectiveFunctions,
    PyTree,
    Step,
    TrainState,
    UserError,
)


class Saved(NamedTuple):
    """What a checkpoint holds of a TrainState: all but what is frozen."""

    step: Array
    params: PyTree
    opt_state: PyTree
    hyper: Hyper


class Program(NamedTuple):
    """Runs that differ only in Hyper share one."""

    model: Any
    objective: ObjectiveFunctions
    step: Step  # one step of one run
    steps: int
    flops_per_step: (
        int  # counted: matrix products, forward and backward, full attention, nothing recomputed
    )
    targets_per_step: int
    state: TrainState  # of one run, abstract and boxed: shapes, dtypes and logical axes
    params: dict[str, int]  # by group
    flops_per_token: dict[str, float]  # by convention, "counted" among them


def assemble(task: Task) -> Program:
    """The program of an experiment. Raises UserError where its horizon is shorter than one call."""
    model, objective = task.model, task.objective
    state = jax.eval_shape(partial(start, task), task.experiment.update.hyper(task.experiment.seed))
    flops_per_step = _count(task, state)
    targets = task.experiment.train.batch_size * task.experiment.data.length
    steps = _steps(task, flops_per_step, targets)
    task.experiment.update.check_steps(steps)
    adapter = task.adapter
    gradient = steps_of.gradients(model, objective, task.experiment.precision.compute, adapter)
    gradient = steps_of.accumulate(gradient, task.experiment.train.microbatches)
    step = steps_of.train_step(gradient, objective, task.experiment.update, steps)
    chosen = task.family.experts_per_token(task.experiment.model)
    groups = _groups(adapter, sharding.unbox(state), chosen)
    shape = conventions.geometry(
        groups, task.experiment.data.length, *task.family.attention(task.experiment.model)
    )
    per_token = {"counted": flops_per_step / targets, **conventions.per_token(shape)}
    return Program(model, objective, step, steps, flops_per_step, targets, state, groups, per_token)


def _groups(adapter: AdapterFunctions, state: TrainState, chosen: int) -> dict[str, int]:
    """Parameters of the model by group; where some are frozen, also how many are trained, adapters
    among them.
    """
    whole = jax.eval_shape(adapter.merge, state.params, state.frozen)
    groups = parameters.by_group(whole, chosen)
    if not jax.tree.leaves(state.frozen):
        return groups
    return groups | {"trained": sum(leaf.size for leaf in jax.tree.leaves(state.params))}


def start(task: Task, hyper: Hyper, given: Mapping[str, Any] | None = None) -> TrainState:
    """The state before step 0, in the parameters' dtype, boxed; `given` are parameters that it
    starts with.
    """
    batch = example_batch(task)
    model = task.reference_model  # fused kernels refuse float32, and the parameters are the same
    adapter, dtype = task.adapter, task.experiment.precision.parameters
    return steps_of.initial_state(
        model, task.experiment.update, hyper, batch, dtype, adapter, given
    )


def example_batch(task: Task) -> Batch:
    """A batch of zeros of one row: what initialisation needs to know of shapes."""
    return task.objective.prepare(jax.random.key(0), _examples(task, 1, jnp.zeros))


def abstract_examples(task: Task, rows: int) -> Examples:
    """Shapes and dtypes of `rows` windows of examples."""
    return _examples(task, rows, jax.ShapeDtypeStruct)


def _examples(task: Task, rows: int, make: Any) -> Examples:
    shape, data = (rows, task.window[0]), task.experiment.data
    records = task.objective_kind.consumes != "stream"
    segments = make(shape, jnp.int32) if records or data.isolate_documents else None
    examples = Examples(make(shape, jnp.int32), make(shape, jnp.float32), segments)
    if task.objective_kind.consumes == "pairs":
        context = (rows, data.context_length or data.length)
        return examples._replace(
            context=make(context, jnp.int32), context_segments=make(context, jnp.int32)
        )
    return examples._replace(labels=make((rows,), jnp.float32)) if records else examples


def _count(task: Task, state: TrainState) -> int:
    """FLOPs of a step as the mathematics asks for: the plain attention kernel, nothing computed
    twice.
    """
    model = task.reference_model
    objective = task.objective
    gradient = steps_of.gradients(model, objective, task.experiment.precision.compute, task.adapter)
    step = steps_of.train_step(gradient, objective, task.experiment.update, 1)
    return flops.count(
        step, sharding.unbox(state), abstract_examples(task, task.experiment.train.batch_size)
    ).total


def _steps(task: Task, flops_per_step: int, targets: int) -> int:
    """The run's steps. A budget is rounded to whole calls, so that one compiled program runs from
    start to end.
    """
    horizon = task.experiment.train
    if horizon.steps is not None:
        return _countable(horizon.steps)
    if horizon.tokens is not None:
        name, amount, unit = "tokens", horizon.tokens, targets
    else:
        assert horizon.budget_flops is not None
        name, amount, unit = "budget_flops", horizon.budget_flops, flops_per_step
    calls = round(amount / (unit * horizon.steps_per_call))
    if not calls:
        least = unit * horizon.steps_per_call
        raise UserError(
            f"config.train.{name} {amount:g} is below {least:g}, a call of "
            f"{horizon.steps_per_call} steps"
        )
    return _countable(calls * horizon.steps_per_call)


def _countable(steps: int) -> int:
    if steps >= 2**31:
        raise UserError(
            f"config.train asks for {steps:.3g} steps, beyond the 2**31 that a state counts; "
            "ask for fewer"
        )
    return steps


def saved(state: TrainState) -> Saved:
    """What a checkpoint holds of the state (or of a tree of its form)."""
    return Saved(state.step, state.params, state.opt_state, state.hyper)


def abstract_state(program: Program) -> Saved:
    """Shapes and dtypes of what the checkpoints of one run hold."""
    return saved(sharding.unbox(program.state))
