"""The computation of a run: init, step and evaluate as pure functions, and the FLOPs of a step.
Nothing here touches the disk.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.compute import conventions, flops, parameters
from lm_lab.contracts import Model
from lm_lab.engine import sharding
from lm_lab.engine.average import AVERAGE, average_slot
from lm_lab.engine.carry import CARRY
from lm_lab.engine.groups import summed_last
from lm_lab.engine.nonfinite import guarded, with_policy
from lm_lab.engine.norms import norms_by
from lm_lab.engine.program import evaluate_slots, evaluated_params
from lm_lab.engine.rounding import ROUNDINGS
from lm_lab.engine.state import FROZEN, Init, Slots, TrainState, frozen_slot, initial_state
from lm_lab.engine.step import (
    Evaluate,
    Gradients,
    Step,
    accumulate,
    gradients,
    placed,
    train_step,
    with_parameters_at,
)
from lm_lab.evaluation import likelihood
from lm_lab.nn.roles import roles, stacked
from lm_lab.nn.transfer import with_shares
from lm_lab.optimizers._groups import group_settings
from lm_lab.train import checked, initial
from lm_lab.train.experiment import Experiment, TrainConfig
from lm_lab.train.shapes import abstract_examples, example_inputs
from lm_lab.train.task import Task
from lm_lab.types import AdapterFunctions, Hyper, PyTree, UserError


class Accumulation(NamedTuple):
    """In how many parts the gradient of a batch is accumulated, and for how much memory that was
    chosen (microbatches.py).
    """

    microbatches: int
    memory_bytes: float | None  # of a device; None: it was not chosen by memory


class Program(NamedTuple):
    """The computation shared by runs that differ only in traced settings; all functions are of one
    run.
    """

    init: Init
    step: Step
    evaluate: Evaluate  # on held-out text; batches for selection are reported apart
    test: Evaluate  # as evaluate, with no batches set apart for selection
    slots: Slots
    state: TrainState  # abstract and boxed: shapes, dtypes and logical axes
    adapter: AdapterFunctions
    steps: int
    # counted from the jaxpr: matrix products, forward and backward, full attention, nothing
    # recomputed
    flops_per_step: int
    targets_per_step: int
    params: dict[str, int]  # by group
    flops_per_token: dict[str, float]  # by convention, "counted" among them
    accumulation: Accumulation

    def merged_params(self, state: TrainState) -> PyTree:
        """The parameters of the model at a state of one run, its adapter merged into them."""
        return self.adapter.merge(state.params, state.slots[FROZEN])

    def evaluated_params(self, state: TrainState) -> dict[str, PyTree]:
        """All parameters of the model that are evaluated, merged, by the ending of the evaluation's
        name: "" for the trained ones, "_average" for their moving average.
        """
        merge, frozen = self.adapter.merge, state.slots[FROZEN]
        evaluated = evaluated_params(state, self.slots)
        return {ending: merge(params, frozen) for ending, params in evaluated.items()}


def hyper_of(experiment: Experiment) -> Hyper:
    """The traced settings of a run, as arrays; those that are None are left out."""
    settings = (experiment.optimizer.settings, experiment.train)
    traced = {
        field.name: getattr(section, field.name)
        for section in settings
        for field in dataclasses.fields(section)
        if field.metadata.get("traced", False)
    }
    traced |= group_settings(experiment.optimizer.settings.groups)
    numbers = {name: np.float32(value) for name, value in traced.items() if value is not None}
    # Copied to the device, as `jnp.float32(value)` would compile a program.
    return jax.device_put({"seed": np.uint32(experiment.seed), **numbers})


def slots_of(task: Task) -> Slots:
    """The slots of the state. Runs that start from the parameters of another run share their frozen
    parameters.
    """
    train = task.experiment.train
    slots = {FROZEN: frozen_slot(shared=train.initial is not None)}
    slots |= {} if train.average_decay is None else {AVERAGE: average_slot()}
    slots |= {CARRY: task.carry.slot(train.batch_size)} if train.carry_state else {}
    return with_policy(slots, train.nonfinite)


def assemble(task: Task) -> Program:
    """The program of a task. Raises UserError where the run is shorter than one call."""
    experiment, adapter = task.experiment, task.adapter
    slots = slots_of(task)
    hyper = hyper_of(experiment)
    draw, begin = _draw(task), _begin(task, slots)
    drawn = jax.eval_shape(draw, hyper, {})
    state = jax.eval_shape(begin, hyper, {}, drawn)
    flops_per_step = _count(task, state)
    targets = experiment.train.batch_size * experiment.data.length
    steps = steps_of(experiment, flops_per_step, targets)
    task.update.check_steps(steps)
    evaluation = likelihood.evaluate(
        task.model,
        task.eval_objectives,
        experiment.precision.compute,
        adapter,
        experiment.train.selection_batches,
        task.carry,
        experiment.train.loss_chunk,
    )
    chosen = task.family.experts_per_token(experiment.model.settings)
    groups = _groups(drawn, state, chosen)
    shape = conventions.geometry(
        groups, experiment.data.length, *task.family.attention(experiment.model.settings)
    )
    per_token = {"counted": flops_per_step / targets, **conventions.per_token(shape)}
    step = _step(task, task.model, slots, steps, state.params)
    evaluate = evaluate_slots(evaluation, slots)
    whole = likelihood.evaluate(
        task.model,
        task.eval_objectives,
        experiment.precision.compute,
        adapter,
        form=task.carry,
        chunk=experiment.train.loss_chunk,
    )
    test = evaluate_slots(whole, slots) if experiment.train.selection_batches else evaluate
    sizes = (steps, flops_per_step, targets, groups, per_token)

    def init(hyper: Hyper, given: Mapping[str, Array]) -> TrainState:
        return begin(hyper, given, draw(hyper, given))

    parts = accumulation(experiment.train)
    return Program(init, step, evaluate, test, slots, state, adapter, *sizes, parts)


def accumulation(train: TrainConfig) -> Accumulation:
    """The accumulation of a `train` section."""
    return Accumulation(train.microbatches or 1, train.memory_bytes)


def _step(task: Task, model: Model, slots: Slots, steps: int, trained: PyTree) -> Step:
    """One step of a run of `steps`; the roles of the trained parameters follow from their boxes."""
    experiment, objective = task.experiment, task.objective
    train, compute = experiment.train, experiment.precision.compute
    gradient = gradients(model, objective, compute, task.adapter, task.carry, train.loss_chunk)
    place = partial(sharding.pinned, experiment.mesh, trained)
    gradient = placed(gradient, place("gradients"))
    about, norms = _roles(task, trained), None
    if train.norms != "none":
        by_layer = stacked(trained)
        if train.norms != "layers":
            by_layer = jax.tree.map(lambda _: False, by_layer)
        norms = norms_by(task.update.labels(train.norms, about), by_layer)
    step = train_step(
        _accumulated(gradient, experiment),
        objective.prepare,
        partial(task.update.make, about),
        lambda step: task.update.rate_factor(step, steps),
        slots,
        norms,
        ROUNDINGS[experiment.precision.rounding],
    )
    return guarded(with_parameters_at(step, place("parameters")), train.nonfinite, slots)


def _accumulated(gradient: Gradients, experiment: Experiment) -> Gradients:
    """The gradient of a batch, whose sum over devices is taken once. Without a loop that is left
    to the compiler, which sums each layer's as soon as the backward pass has it.
    """
    mesh, train = experiment.mesh, experiment.train
    parts, axes = train.microbatches or 1, sharding.whole_gradient_axes(mesh)
    loops = parts > 1 or mesh.pipeline > 1 or train.loss_chunk is not None
    return summed_last(gradient, parts, axes) if loops else accumulate(gradient, parts)


def _roles(task: Task, trained: PyTree) -> PyTree:
    """The roles of the trained parameters, with rates by the width of the model."""
    ratio = task.family.width_ratio(task.experiment.model.settings)
    return with_shares(roles(trained), ratio)


def _groups(drawn: PyTree, state: TrainState, chosen: int) -> dict[str, int]:
    """Parameters of the model by group; if some are frozen also "trained", the number of trained
    ones with adapters.
    """
    groups = parameters.by_group(drawn, chosen)
    if not jax.tree.leaves(state.slots[FROZEN]):
        return groups
    return groups | {"trained": sum(leaf.size for leaf in jax.tree.leaves(state.params))}


def _draw(task: Task) -> Callable[[Hyper, Mapping[str, Array]], PyTree]:
    """(hyper, given) -> the parameters of the model, in their dtype, boxed; `given` are parameters
    by path that replace drawn ones.
    """
    shapes, dtype = example_inputs(task), task.experiment.precision.parameters
    chosen = task.experiment.model
    # Other objectives than those of the likelihood of text say themselves what a model gives.
    vocab = None if task.objective_kind.text_likelihood is None else chosen.settings.vocab
    # The reference model has the same parameters, and its kernels take float32, which fused ones
    # refuse.
    model = task.reference_model

    def draw(hyper: Hyper, given: Mapping[str, Array]) -> PyTree:
        key = jax.random.key(hyper["seed"])
        inputs = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        params = checked.initial_params(chosen.name, model, key, inputs, vocab)
        drawn = initial.filled(params, given)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), drawn)

    return draw


def _begin(task: Task, slots: Slots) -> Callable[[Hyper, Mapping[str, Array], PyTree], TrainState]:
    """(hyper, given, drawn parameters) -> the state before step 0, boxed; the roles of parameters
    follow from the boxes.
    """

    def begin(hyper: Hyper, given: Mapping[str, Array], drawn: PyTree) -> TrainState:
        key = jax.random.key(hyper["seed"])
        trained, frozen = task.adapter.split(jax.random.fold_in(key, 1), drawn)
        trained = initial.continued(trained, given)
        made = partial(task.update.make, _roles(task, trained))
        return initial_state(trained, frozen, made, hyper, slots)

    return begin


def _count(task: Task, state: TrainState) -> int:
    """FLOPs of a step in the mathematical sense: plain attention, nothing recomputed."""
    experiment = task.experiment
    reference = task.replace(
        train=dataclasses.replace(experiment.train, microbatches=1, loss_chunk=None)
    )
    step = _step(reference, task.reference_model, slots_of(task), 1, state.params)
    return flops.count(
        step, sharding.unbox(state), abstract_examples(task, experiment.train.batch_size)
    ).total


def steps_of(experiment: Experiment, flops_per_step: int, targets: int) -> int:
    """The steps of a run, given the FLOPs and the targets of one step. A budget is rounded to whole
    calls, so that one compiled program runs from start to end. Raises UserError for one below a
    call.
    """
    horizon = experiment.train
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
            f"{horizon.steps_per_call} steps; give more, or lower config.train.steps_per_call"
        )
    return _countable(calls * horizon.steps_per_call)


def _countable(steps: int) -> int:
    if steps >= 2**31:
        raise UserError(
            f"config.train asks for {steps:.3g} steps, beyond the 2**31 that a state counts; "
            "ask for fewer"
        )
    return steps
