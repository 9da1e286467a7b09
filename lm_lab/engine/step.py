"""The train step and its transformers. Each is pure, and has a law in tests/engine/test_step.py."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from lm_lab.adapters import none
from lm_lab.engine.carry import CARRY, NOTHING, Carry, begun
from lm_lab.engine.chunked import loss_of, outputs
from lm_lab.engine.norms import Norms
from lm_lab.engine.rounding import Rounding, nearest
from lm_lab.engine.state import FROZEN, Init, Optimizer, Slots, TrainState, divide, unite
from lm_lab.types import (
    AdapterFunctions,
    Batch,
    Examples,
    Hyper,
    ObjectiveFunctions,
    PyTree,
    Sums,
    UserError,
)

# (params, batch, key, frozen, carry) -> (gradient of the summed loss, sums, the carry behind it)
Gradients = Callable[..., tuple[PyTree, tuple[Sums, PyTree]]]
Metrics = Mapping[str, PyTree]  # sums over the batch, and those named in LAST
Step = Callable[[TrainState, Examples], tuple[TrainState, Metrics]]
Evaluate = Callable[[TrainState, Examples], dict[str, Sums]]  # (state, eval set) -> sums by name
How = Literal["map", "vmap"]
WHOLE = none.make(none.Config())
LAST = ("gradient_norm", "rate", "norms")  # metrics of a step that are not summed over steps


def gradients(
    model: Any,
    objective: ObjectiveFunctions,
    compute: str,
    adapter: AdapterFunctions = WHOLE,
    form: Carry = NOTHING,
    chunk: int | None = None,
) -> Gradients:
    """(params, batch, key, frozen, carry) -> (gradient of the summed nll by params, (sums, the
    recurrent state after the batch)), with products in dtype `compute`.

    Two penalties are added to the nll: the objective's "penalty", and what layers sow in "losses"
    (f32[B] each, multiplied by the targets of the row). The sums report them together as "penalty".
    `carry` is a state of this form; no gradient flows into it. With `chunk`, logits are held of so
    many positions of each row at once (chunked.py).
    """

    def summed(
        params: PyTree, batch: Batch, key: Array, frozen: PyTree = (), carry: PyTree = NOTHING.one
    ) -> tuple[Array, tuple[Sums, PyTree]]:
        def variables(params: PyTree) -> PyTree:
            return adapter.variables(params, frozen, compute)

        rngs = {"dropout": key}
        options = {"rngs": rngs, "mutable": ["losses"], **outputs(chunk)}
        output, after, sown = form.apply(model, variables(params), batch.inputs, carry, **options)
        sums = loss_of(model, objective, variables, params, chunk, rngs)(output, batch)
        _check_sums(sums)
        if sown:
            sums = {**sums, "penalty": sums.get("penalty", 0.0) + _penalty(sown, batch)}
        return sums["nll"] + sums.get("penalty", 0.0), (sums, after)

    return jax.grad(summed, has_aux=True)


def _check_sums(sums: Sums) -> None:
    if not isinstance(sums, Mapping):
        raise UserError(
            f"config.objective.name: its loss gives a {type(sums).__name__}, not a dict of sums; "
            'return {"nll": ..., "weight": ...}'
        )
    for name in ("nll", "weight"):
        if name not in sums:
            raise UserError(f"config.objective.name: its loss gives no {name!r}; return it too")
        if shape := jnp.shape(sums[name]):
            raise UserError(
                f"config.objective.name: its loss gives {name!r} of shape {shape}, not a number; "
                "return its sum"
            )


def _penalty(sown: PyTree, batch: Batch) -> Array:
    """The sown losses, each row weighted by its targets, so that microbatches and shards add up to
    the whole batch.
    """
    targets_B = batch.weights.reshape(len(batch.weights), -1).sum(1)
    return jnp.stack([(leaf * targets_B).sum() for leaf in jax.tree.leaves(sown)]).sum()


def placed(gradient: Gradients, place: Callable[[PyTree], PyTree] | None) -> Gradients:
    """The same gradient, pinned by `place` to where it lies on a mesh, so that the sums of
    microbatches lie there too; None: as the compiler likes.
    """
    if place is None:
        return gradient

    def pinned(*args: Any) -> tuple[PyTree, tuple[Sums, PyTree]]:
        grads, rest = gradient(*args)
        return place(grads), rest

    return pinned


def accumulate(gradient: Gradients, microbatches: int) -> Gradients:
    """The same gradient, one microbatch of B / microbatches rows at a time: equals one big batch,
    in less memory.
    """
    if microbatches == 1:
        return gradient

    def accumulated(
        params: PyTree, batch: Batch, key: Array, frozen: PyTree = (), carry: PyTree = NOTHING.one
    ) -> tuple[PyTree, tuple[Sums, PyTree]]:
        split, parts = jax.tree.map(
            lambda x: x.reshape(microbatches, -1, *x.shape[1:]), (batch, carry)
        )
        keys = jax.random.split(key, microbatches)

        def part_of(part: tuple[Batch, Array, PyTree]) -> tuple[tuple[PyTree, Sums], PyTree]:
            rows, key, carry = part
            gradients, (sums, after) = gradient(params, rows, key, frozen, carry)
            return (gradients, sums), after

        shapes = jax.eval_shape(part_of, jax.tree.map(lambda x: x[0], (split, keys, parts)))[0]
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)

        def add(total: PyTree, part: tuple[Batch, Array, PyTree]) -> tuple[PyTree, PyTree]:
            gradients, after = part_of(part)
            return jax.tree.map(jnp.add, total, gradients), after

        (gradients, sums), after = lax.scan(add, zeros, (split, keys, parts))
        return gradients, (sums, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), after))

    return accumulated


def train_step(
    gradient: Gradients,
    prepare: Callable[[Array, Examples], Batch],
    optimizer: Optimizer,
    rate_factor: Callable[[Array], Array],
    slots: Slots,
    norms: Norms | None = None,
    rounded: Rounding = nearest,
) -> Step:
    """One step of one run: (state, examples) -> (state, metrics).

    `rate_factor` is the share of the peak rate at a step, i32[] -> f32[]. The key depends on the
    seed and the step alone. Sums become means here and nowhere else, over the whole batch. With
    `norms` the metrics hold them, too, as a mapping "norms". `rounded` gives parameters and
    optimizer state the dtypes that they are kept in.
    """

    def step(state: TrainState, examples: Examples) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(state.hyper["seed"]), state.step)
        corruption, dropout = jax.random.split(key)
        batch = prepare(corruption, examples)
        carry = begun(state.slots.get(CARRY, NOTHING.one), examples.begins)
        rate = state.hyper["peak_rate"] * rate_factor(state.step)
        updater = optimizer(state.hyper, rate)
        point = updater.point(state.opt_state, state.params)
        grads, (sums, carry) = gradient(point, batch, dropout, state.slots[FROZEN], carry)
        # A batch that is all padding changes nothing and gives no NaN.
        count = jnp.where(sums["weight"] > 0, sums["weight"], 1.0)
        grads = jax.tree.map(lambda g: g / count, grads)
        updates, opt_state = updater.update(grads, state.opt_state, state.params)
        # The update is computed in float32 and stored in the dtype of the parameters.
        moved = jax.tree.map(jnp.add, state.params, updates)
        kept = (state.params, state.opt_state)
        params, opt_state = rounded((moved, opt_state), kept, key)
        in_slots = {**state.slots, CARRY: carry} if carry else state.slots
        after = TrainState(state.step + 1, params, opt_state, state.hyper, in_slots)
        metrics: dict[str, PyTree] = {**sums, "rate": rate}
        metrics["gradient_norm"] = optax.tree.norm(grads)
        if norms:
            metrics["norms"] = norms(grads, updates, state.params)
        return _update_slots(after, slots), metrics

    return step


def with_parameters_at(step: Step, place: Callable[[PyTree], PyTree] | None) -> Step:
    """The same step, whose parameters are pinned by `place` before and after it: a loop over steps
    would keep them where the optimizer's state lies, and each use of a kernel would gather it.
    """
    if place is None:
        return step

    def pinned(state: TrainState, examples: Examples) -> tuple[TrainState, Metrics]:
        after, metrics = step(state._replace(params=place(state.params)), examples)
        return after._replace(params=place(after.params)), metrics

    return pinned


def _update_slots(state: TrainState, slots: Slots) -> TrainState:
    trees = {
        name: slot.update(state.slots[name], state) if slot.update else state.slots[name]
        for name, slot in slots.items()
    }
    return state._replace(slots=trees)


def chunk(step: Step) -> Step:
    """Many steps in one call, over examples with a leading axis of steps: equals the steps one by
    one, and reuses their memory.
    """
    return partial(lax.scan, step)


def _each(function: Callable[[Any], Any], how: How) -> Callable[[Any], Any]:
    """The function of every member, over the leading axis P of its argument.

    "vmap" joins the members' small matrices into large ones, which fills a GPU; "map" runs one
    member after another, bit for bit as in a run of its own.
    """
    if how == "vmap":
        return jax.vmap(function, spmd_axis_name="population")
    return partial(lax.map, function)


def populate(step: Step, how: How, slots: Slots) -> Step:
    """The step of every member: (state [P], examples [P ...]) -> (state [P], metrics [P]). Equals
    the runs trained alone.
    """

    def populated(state: TrainState, examples: Examples) -> tuple[TrainState, Metrics]:
        own, shared = divide(state, slots)

        def member(own: tuple[TrainState, Examples]) -> tuple[TrainState, Metrics]:
            after, metrics = step(unite(own[0], shared), own[1])
            return divide(after, slots)[0], metrics

        after, metrics = _each(member, how)((own, examples))
        return unite(after, shared), metrics

    return populated


def populate_init(init: Init, slots: Slots) -> Init:
    """(hyper [P], given) -> the states of all members, initialised one after another, which
    compiles in half the time of a vmap. Shared slots are those of the first member.
    """

    def populated(hyper: Hyper, given: PyTree) -> TrainState:
        own = lax.map(lambda hyper: divide(init(hyper, given), slots)[0], hyper)
        if not any(slot.shared for slot in slots.values()):
            return own
        first = jax.tree.map(lambda leaf: leaf[0], hyper)
        return unite(own, divide(init(first, given), slots)[1])

    return populated


def populate_evaluate(evaluate: Evaluate, how: How, slots: Slots) -> Evaluate:
    """The evaluation of every member on one eval set: (state [P], examples) -> sums [P] by name."""

    def populated(state: TrainState, eval_set: Examples) -> dict[str, Sums]:
        own, shared = divide(state._replace(opt_state=()), slots)
        return _each(lambda member: evaluate(unite(member, shared), eval_set), how)(own)

    return populated
