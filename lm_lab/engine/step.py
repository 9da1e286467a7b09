"""The train step and the transformers of it: each pure, each with a law that
tests/train/test_step.py states.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from lm_lab.adapters import none
from lm_lab.train import initial, optimizer
from lm_lab.types import (
    AdapterFunctions,
    Batch,
    Examples,
    Hyper,
    ObjectiveFunctions,
    PyTree,
    Step,
    Sums,
    TrainState,
)

Gradients = Callable[..., tuple[PyTree, Sums]]  # of (params, batch, key, frozen)
WHOLE = none.make(none.Config())


def gradients(
    model: Any, objective: ObjectiveFunctions, compute: str, adapter: AdapterFunctions = WHOLE
) -> Gradients:
    """(params, batch, key, frozen) -> (gradient of the summed nll by params, sums), with products
    in dtype `compute`.

    To it is added what the objective calls "penalty", and what layers sow in "losses", f32[B] each,
    once for each of the row's targets; the sums have both as "penalty".
    """

    def summed(params: PyTree, batch: Batch, key: Array, frozen: PyTree = ()) -> tuple[Array, Sums]:
        variables = adapter.variables(params, frozen, compute)
        logits, sown = model.apply(
            variables, batch.inputs, rngs={"dropout": key}, mutable=["losses"]
        )
        sums = objective.loss(logits, batch)
        if sown:
            sums = {**sums, "penalty": sums.get("penalty", 0.0) + _penalty(sown, batch)}
        return sums["nll"] + sums.get("penalty", 0.0), sums

    return jax.grad(summed, has_aux=True)


def _penalty(sown: PyTree, batch: Batch) -> Array:
    """Rows count by their targets, so that microbatches and shards add up to the whole."""
    targets_B = batch.weights.reshape(len(batch.weights), -1).sum(1)
    return jnp.stack([(leaf * targets_B).sum() for leaf in jax.tree.leaves(sown)]).sum()


def accumulate(gradient: Gradients, microbatches: int) -> Gradients:
    """The same gradient, one microbatch of B / microbatches rows at a time: equals one big batch,
    in less memory.
    """
    if microbatches == 1:
        return gradient

    def accumulated(
        params: PyTree, batch: Batch, key: Array, frozen: PyTree = ()
    ) -> tuple[PyTree, Sums]:
        split = jax.tree.map(lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch)
        keys = jax.random.split(key, microbatches)
        one = jax.eval_shape(gradient, params, *jax.tree.map(lambda x: x[0], (split, keys)), frozen)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), one)

        def add(total: PyTree, part: tuple[Batch, Array]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, total, gradient(params, *part, frozen)), None

        return lax.scan(add, zeros, (split, keys))[0]

    return accumulated


def train_step(
    gradient: Gradients, objective: ObjectiveFunctions, config: optimizer.Update, steps: int
) -> Step:
    """One step of a run of `steps`: (state, examples) -> (state, metrics).

    The key is a function of the seed and the step. Sums become means here, once, for the whole
    batch.
    """

    def step(state: TrainState, examples: Examples) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(jax.random.key(state.hyper.seed), state.step)
        corruption, dropout = jax.random.split(key)
        grads, sums = gradient(
            state.params, objective.prepare(corruption, examples), dropout, state.frozen
        )
        count = jnp.where(
            sums["weight"] > 0, sums["weight"], 1.0
        )  # a batch of padding moves nothing, and is no NaN
        grads = jax.tree.map(lambda g: g / count, grads)
        rate = state.hyper.peak_rate * optimizer.rate_factor(config, state.step, steps)
        update = optimizer.make(config, state.hyper, rate).update
        updates, opt_state = update(grads, state.opt_state, state.params)
        # Computed in float32, kept in the dtype of the parameters.
        opt_state = jax.tree.map(lambda new, old: new.astype(old.dtype), opt_state, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        metrics = {**sums, "gradient_norm": optax.tree.norm(grads), "rate": rate}
        return TrainState(state.step + 1, params, opt_state, state.hyper, state.frozen), metrics

    return step


def chunk(step: Step) -> Step:
    """Many steps in one call, over examples with a leading axis of steps: equals one by one, and
    reuses memory.
    """
    return lambda state, examples: lax.scan(step, state, examples)


def populate(step: Step, how: str, shared_frozen: bool = False) -> Step:
    """One step of every member of a population, over a leading axis of members: equals solo runs.

    "vmap" joins the members' small matrices into large ones, which fills a GPU; "map" takes one
    after another. Where the members share what is frozen, that has no such axis.
    """
    if not shared_frozen:
        return _each(step, how)

    def populated(state: TrainState, examples: Examples) -> tuple[TrainState, Sums]:
        def own(member: TrainState, examples: Examples) -> tuple[TrainState, Sums]:
            after, metrics = step(member._replace(frozen=state.frozen), examples)
            return after._replace(frozen=()), metrics

        after, metrics = _each(own, how)(state._replace(frozen=()), examples)
        return after._replace(frozen=state.frozen), metrics

    return populated


def _each(function: Callable[[Any, Any], Any], how: str) -> Callable[[Any, Any], Any]:
    if how == "vmap":
        return jax.vmap(function, spmd_axis_name="population")
    return lambda members, own: lax.map(lambda member: function(*member), (members, own))


def populate_shared(
    function: Callable[[Any, Any], Any], how: str, shared_frozen: bool = False
) -> Callable[[Any, Any], Any]:
    """The function of each member's first argument and of the second, which all share; as
    `populate` of what is frozen in the first.
    """
    if shared_frozen:
        return lambda state, shared: populate_shared(
            lambda member, one: function(member._replace(frozen=state.frozen), one), how
        )(state._replace(frozen=()), shared)
    if how == "vmap":
        return jax.vmap(function, in_axes=(0, None), spmd_axis_name="population")
    return lambda members, shared: lax.map(lambda member: function(member, shared), members)


def initial_state(
    model: Any,
    config: optimizer.Update,
    hyper: Hyper,
    example: Batch,
    dtype: str,
    adapter: AdapterFunctions = WHOLE,
    given: Mapping[str, Array] | None = None,
) -> TrainState:
    """The state before step 0, as a function of hyper.seed and of the parameters that are `given`,
    by path.

    Leaves carry the logical axes that the model gave them.
    """
    key = jax.random.key(hyper.seed)
    params = initial.filled(model.init(key, example.inputs)["params"], given or {})
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    trained, frozen = adapter.split(jax.random.fold_in(key, 1), params)
    trained = initial.continued(trained, given or {})
    opt_state = optimizer.make(config, hyper, 0.0).init(trained)
    return TrainState(jnp.int32(0), trained, opt_state, hyper, frozen)
