"""The train step and the transformers of it: each pure, each with a law that tests/train/test_step.py states."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from lm_lab.train import optimizer
from lm_lab.types import Batch, Examples, Hyper, Objective, PyTree, Step, Sums, TrainState

Gradients = Callable[[PyTree, Batch, Array], tuple[PyTree, Sums]]


def gradients(model: Any, objective: Objective, compute: str) -> Gradients:
    """(params, batch, key) -> (gradient of the summed nll, sums), with matrix products in dtype `compute`.

    What layers sow in "losses", f32[B] each, is added to it once for each of the row's targets, as "penalty".
    """

    def summed(params: PyTree, batch: Batch, key: Array) -> tuple[Array, Sums]:
        cast = jax.tree.map(lambda x: x.astype(compute), params)
        logits, sown = model.apply({"params": cast}, batch.inputs, rngs={"dropout": key}, mutable=["losses"])
        sums = objective.loss(logits, batch)
        if not sown:
            return sums["nll"], sums
        penalty = _penalty(sown, batch)
        return sums["nll"] + penalty, {**sums, "penalty": penalty}

    return jax.grad(summed, has_aux=True)


def _penalty(sown: PyTree, batch: Batch) -> Array:
    """Rows count by their targets, so that microbatches and shards add up to the whole."""
    targets_B = batch.weights.reshape(len(batch.weights), -1).sum(1)
    return jnp.stack([(leaf * targets_B).sum() for leaf in jax.tree.leaves(sown)]).sum()


def accumulate(gradient: Gradients, microbatches: int) -> Gradients:
    """The same gradient, one microbatch of B / microbatches rows at a time: equals one big batch, in less memory."""
    if microbatches == 1:
        return gradient

    def accumulated(params: PyTree, batch: Batch, key: Array) -> tuple[PyTree, Sums]:
        split = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
        keys = jax.random.split(key, microbatches)
        one = jax.eval_shape(gradient, params, *jax.tree.map(lambda x: x[0], (split, keys)))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), one)

        def add(total: PyTree, part: tuple[Batch, Array]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, gradient(params, *part)), None

        return lax.scan(add, zeros, (split, keys))[0]

    return accumulated


def train_step(gradient: Gradients, objective: Objective, config: optimizer.Config, steps: int) -> Step:
    """One step of a run of `steps`: (state, examples) -> (state, metrics).

    The key is a function of the seed and the step. Sums become means here, once, for the whole batch.
    """

    def step(state: TrainState, examples: Examples) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(jax.random.key(state.hyper.seed), state.step)
        corruption, dropout = jax.random.split(key)
        grads, sums = gradient(state.params, objective.prepare(corruption, examples), dropout)
        count = jnp.where(sums["weight"] > 0, sums["weight"], 1.0)  # a batch of padding moves nothing, and is no NaN
        grads = jax.tree.map(lambda g: g / count, grads)
        rate = state.hyper.peak_rate * optimizer.rate_factor(config, state.step, steps)
        update = optimizer.make(config, state.hyper, rate).update
        updates, opt_state = update(grads, state.opt_state, state.params)
        # Computed in float32, kept in the dtype of the parameters.
        opt_state = jax.tree.map(lambda new, old: new.astype(old.dtype), opt_state, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        metrics = {**sums, "gradient_norm": optax.tree.norm(grads), "rate": rate}
        return TrainState(state.step + 1, params, opt_state, state.hyper), metrics

    return step


def chunk(step: Step) -> Step:
    """Many steps in one call, over examples with a leading axis of steps: equals one by one, and reuses memory."""
    return lambda state, examples: lax.scan(step, state, examples)


def populate(step: Step, how: str) -> Step:
    """One step of every member of a population, over a leading axis of members: equals solo runs.

    "vmap" joins the members' small matrices into large ones, which fills a GPU; "map" takes one after another.
    """
    if how == "vmap":
        return jax.vmap(step, spmd_axis_name="population")
    return lambda state, examples: lax.map(lambda member: step(*member), (state, examples))


def populate_shared(function: Callable[[PyTree, Any], Any], how: str) -> Callable[[PyTree, Any], Any]:
    """The function of each member's first argument and of the second, which all share."""
    if how == "vmap":
        return jax.vmap(function, in_axes=(0, None), spmd_axis_name="population")
    return lambda members, shared: lax.map(lambda member: function(member, shared), members)


def initial_state(model: Any, config: optimizer.Config, hyper: Hyper, example: Batch, dtype: str) -> TrainState:
    """The state before step 0, as a function of hyper.seed; leaves carry the logical axes that the model gave them."""
    params = model.init(jax.random.key(hyper.seed), example.inputs)["params"]
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    opt_state = optimizer.make(config, hyper, 0.0).init(params)
    return TrainState(jnp.int32(0), params, opt_state, hyper)
