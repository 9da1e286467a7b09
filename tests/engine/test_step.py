"""The laws of the transformers of a step."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.engine.sharding import unbox
from lm_lab.engine.state import Slot, TrainState
from lm_lab.engine.step import (
    accumulate,
    chunk,
    gradients,
    populate,
    populate_evaluate,
    populate_init,
)
from lm_lab.train import program as programs
from lm_lab.train.program import hyper_of
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, ROWS, distance, member, same_bits

EXPERIMENT = tiny.resolve()[0]
OBJECTIVE = tiny.bound(EXPERIMENT).objective
STEPS = 3


def gradient_of(experiment=EXPERIMENT, microbatches=1):
    return accumulate(
        gradients(tiny.bound(experiment).model, OBJECTIVE, experiment.precision.compute),
        microbatches,
    )


@cache
def step_of(experiment=EXPERIMENT, microbatches=1):
    train = replace(experiment.train, microbatches=microbatches)
    return programs.assemble(tiny.bound(replace(experiment, train=train))).step


@cache
def begin(experiment):
    init = programs.assemble(tiny.bound(experiment)).init
    return jax.jit(lambda hyper: unbox(init(hyper, {})))


def start(seed=0, experiment=EXPERIMENT, **optimizer):
    """The state before step 0; of the optimizer's settings, those that live in the state may
    differ.
    """
    settings = replace(experiment.optimizer.settings, **optimizer)
    chosen = experiment.optimizer._replace(settings=settings)
    return begin(experiment)(hyper_of(replace(experiment, seed=seed, optimizer=chosen)))


def stream(steps=STEPS, seed=0):
    """Examples [K B S] whose tokens are within the data's vocabulary."""
    parts = [tiny.examples(seed=100 * seed + step) for step in range(steps)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def one_by_one(step, state, examples):
    step, metrics = jax.jit(step), []
    for index in range(STEPS):
        state, own = step(state, member(examples, index))
        metrics.append(own)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *metrics)


@pytest.fixture(scope="module")
def usual():
    """(state, metrics) after three single steps of the plain step."""
    return jax.device_get(one_by_one(step_of(), start(), stream()))


def test_a_step_moves_everything_and_counts_itself(usual):
    state, metrics = usual
    assert int(state.step) == STEPS
    before = start()
    for after, leaf in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(before.params), strict=True
    ):
        assert not same_bits(after, leaf)
    assert same_bits(state.hyper, before.hyper)
    assert (metrics["weight"] == ROWS * LENGTH).all()
    assert metrics["rate"].tolist() == pytest.approx([0.005, 0.01, 0.01])


@pytest.mark.gpu
@pytest.mark.parametrize("microbatches", [2, 4])
def test_accumulation_is_one_big_batch_step_after_step(usual, microbatches):
    assert (
        distance(one_by_one(step_of(microbatches=microbatches), start(), stream()), usual)
        < ROUNDING
    )


def test_an_almost_empty_and_an_empty_microbatch_weigh_what_they_hold():
    # Four microbatches of two rows: whole; one target; none, all padding; documents that share
    # rows.
    segments = np.ones((ROWS, LENGTH + 1), np.int32)
    segments[2:4], segments[2, :2] = 0, 1
    segments[4:6] = 0
    segments[6:, 5:] = 2
    batch = OBJECTIVE.prepare(jax.random.key(0), tiny.examples(segments=jnp.asarray(segments)))
    assert batch.weights.reshape(4, -1).sum(-1).tolist() == [32, 1, 0, 30]
    params = start().params
    whole, parts = (
        jax.jit(gradient_of(microbatches=m))(params, batch, jax.random.key(0)) for m in (1, 4)
    )
    assert distance(parts, whole) < ROUNDING


def test_a_batch_without_targets_is_no_divergence():
    nothing = tiny.examples(segments=jnp.zeros((ROWS, LENGTH + 1), jnp.int32))
    state, metrics = jax.jit(step_of())(start(weight_decay=0.0), nothing)
    assert float(metrics["weight"]) == float(metrics["gradient_norm"]) == 0
    assert same_bits(state.params, start().params)


def test_the_gradient_is_that_of_the_mean_over_all_targets():
    examples = member(stream(), 0)
    state = start()
    _, metrics = jax.jit(step_of())(state, examples)

    def mean(params):
        sums = OBJECTIVE.loss(
            tiny.bound(EXPERIMENT).model.apply({"params": params}, batch.inputs), batch
        )
        return sums["nll"] / sums["weight"]

    batch = OBJECTIVE.prepare(jax.random.key(0), examples)
    norm = jnp.sqrt(
        sum((g**2).sum() for g in jax.tree.leaves(jax.jit(jax.grad(mean))(state.params)))
    )
    assert float(metrics["gradient_norm"]) == pytest.approx(float(norm), rel=ROUNDING)


def test_chunked_steps_are_single_steps(usual):
    assert distance(jax.jit(chunk(step_of()))(start(), stream()), usual) < ROUNDING


MEMBERS = (
    {},
    {"seed": 7, "peak_rate": 3e-3, "weight_decay": 0.5},
    {"seed": 2**32 - 1, "beta1": 0.5, "beta2": 0.9},
)


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["map", "vmap"])
def test_a_member_of_a_population_is_its_solo_run(how):
    solo_starts = [start(**fields) for fields in MEMBERS]
    hypers = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[state.hyper for state in solo_starts]
    )
    program = programs.assemble(tiny.bound(EXPERIMENT))
    init = populate_init(program.init, program.slots)
    starts = jax.jit(lambda hyper: unbox(init(hyper, {})))(hypers)
    streams = [stream(seed=index) for index in range(len(MEMBERS))]
    examples = jax.tree.map(lambda *leaves: jnp.stack(leaves), *streams)
    population = jax.jit(populate(chunk(step_of()), how, program.slots))(starts, examples)
    solo = jax.jit(chunk(step_of()))
    for index, (own, text) in enumerate(zip(solo_starts, streams)):
        assert same_bits(member(starts, index), own)
        if (
            how == "map"
        ):  # what a sweep relies on when it goes on with fewer members than it began with
            assert same_bits(member(population, index), solo(own, text))
        else:
            assert distance(member(population, index), solo(own, text)) < ROUNDING


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_members_are_evaluated_on_one_eval_set_and_read_what_they_share(how):
    slots = {"own": Slot(lambda *_: 0), "base": Slot(lambda *_: 0, shared=True)}
    state = TrainState(
        jnp.arange(3.0), {}, {}, {}, {"own": jnp.arange(3.0), "base": jnp.float32(10)}
    )

    def evaluate(state, eval_set):
        return state.step * eval_set + state.slots["own"] + state.slots["base"]

    sums = populate_evaluate(evaluate, how, slots)(state, jnp.arange(2.0))
    assert sums.tolist() == [[10, 10], [11, 12], [12, 14]]


def test_the_key_is_a_function_of_seed_and_step():
    dropping = tiny.resolve({"model.dropout": 0.5, "optimizer.peak_rate": 1e-30})[0]
    step, text = jax.jit(step_of(dropping)), member(stream(), 0)
    first, at_one, other = start(), start()._replace(step=jnp.int32(1)), start()
    other = other._replace(hyper={**other.hyper, "seed": jnp.uint32(5)})
    losses = [float(step(state, text)[1]["nll"]) for state in (first, first, at_one, other)]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("precision", ["compute", "parameters"])
def test_half_precision_keeps_its_dtypes_and_follows_float32(usual, precision, microbatches):
    experiment = tiny.resolve({f"precision.{precision}": "bfloat16"})[0]
    before = start(experiment=experiment)
    state, metrics = jax.jit(chunk(step_of(experiment, microbatches)))(before, stream())
    kept = jnp.bfloat16 if precision == "parameters" else jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(kept)}
    assert [x.dtype for x in jax.tree.leaves(state)] == [x.dtype for x in jax.tree.leaves(before)]
    assert metrics["nll"].dtype == jnp.float32
    np.testing.assert_allclose(metrics["nll"], usual[1]["nll"], rtol=0.01)


def test_a_half_precision_gradient_of_a_frequent_token_is_summed_in_float32():
    # 512 targets look up one row: 1 added 8,192 times in bfloat16 is 256, and here 12 % would be
    # lost.
    frequent = tiny.examples(rows=32)._replace(tokens=jnp.zeros((32, LENGTH + 1), jnp.int32))
    batch = OBJECTIVE.prepare(jax.random.key(0), frequent)
    rows = {}
    for compute in ("float32", "bfloat16"):
        gradient = jax.jit(gradients(tiny.bound(EXPERIMENT).model, OBJECTIVE, compute))
        rows[compute] = gradient(start().params, batch, jax.random.key(0))[0]["embed"]["embedding"][
            0
        ]
    assert distance(rows["bfloat16"], rows["float32"]) < 0.05
