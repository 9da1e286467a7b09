"""The laws of a step that keeps to a policy, on steps whose arithmetic is exact."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.engine.average import AVERAGE, average_slot
from lm_lab.engine.carry import CARRY
from lm_lab.engine.nonfinite import LOST, RollBack, Skip, Stop, guarded, with_policy
from lm_lab.engine.state import Slot, initial_state
from lm_lab.engine.step import chunk, populate
from lm_lab.train.step_metrics import Lost, count
from tests.tiny import member, same_bits

NAN, INF = float("nan"), float("inf")
OPTIMIZER = SimpleNamespace(init=lambda params: jnp.float32(0))
AVERAGED = average_slot()
SLOTS = {AVERAGE: AVERAGED, CARRY: Slot(lambda *_: jnp.float32(0))}


def step(state, example):
    """Adds the example to the parameter and the carry, and its double to the optimizer's state."""
    params = {"w": state.params["w"] + example}
    after = state._replace(
        step=state.step + 1, params=params, opt_state=state.opt_state + 2 * example
    )
    average = AVERAGED.update(state.slots[AVERAGE], after)
    slots = {**state.slots, AVERAGE: average, CARRY: state.slots[CARRY] + example}
    metrics = {"nll": example, "weight": jnp.float32(1), "gradient_norm": example, "rate": example}
    return after._replace(slots=slots), metrics


def start(policy):
    hyper, slots = {"average_decay": jnp.float32(0.5)}, with_policy(SLOTS, policy)
    state = initial_state({"w": jnp.float32(1)}, (), lambda *_: OPTIMIZER, hyper, slots)
    return state, chunk(guarded(step, policy, slots)), slots


def run(policy, *examples):
    """(state, metrics) after a step with each example."""
    state, steps, _ = start(policy)
    return jax.device_get(steps(state, jnp.float32(examples)))


def trained(state):
    return state.params, state.opt_state, state.slots[AVERAGE]


def test_a_policy_changes_no_step_that_is_finite():
    plain, metrics = run(Stop(), 1, 2, 4)
    for policy in (Skip(), RollBack(every_steps=2)):
        state, guarded_metrics = run(policy, 1, 2, 4)
        assert same_bits(trained(state), trained(plain))
        assert guarded_metrics.pop(LOST).tolist() == [0, 0, 0]
        assert same_bits(guarded_metrics, metrics)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_skipped_step_counts_and_changes_nothing(bad):
    state, metrics = run(Skip(), 1, 2, bad)
    before, _ = run(Skip(), 1, 2)
    assert same_bits(trained(state), trained(before))
    assert (int(state.step), float(state.slots[CARRY])) == (3, 0)
    assert metrics[LOST].tolist() == [0, 0, 1]
    assert metrics["nll"].tolist() == [1, 2, 0]  # sums go on without it
    assert metrics["weight"].tolist() == [1, 1, 0]
    assert not np.isfinite(metrics["gradient_norm"][2])  # and the record shows what it was
    after, _ = run(Skip(), 1, 2, bad, 8)
    assert (float(after.params["w"]), float(after.opt_state)) == (12, 22)


def test_it_goes_back_to_what_was_kept_last_and_reads_on():
    state, metrics = run(RollBack(every_steps=2), 1, 2, 4, NAN, 8)
    two, _ = run(RollBack(every_steps=2), 1, 2)
    assert metrics[LOST].tolist() == [0, 0, 0, 1, 0]
    assert (float(state.params["w"]), float(state.opt_state)) == (1 + 1 + 2 + 8, 2 * (1 + 2 + 8))
    back, _ = run(RollBack(every_steps=2), 1, 2, 4, NAN)
    assert same_bits(trained(back), trained(two))
    first, _ = run(RollBack(every_steps=2), NAN)  # before anything was kept: to the start
    assert same_bits(trained(first), trained(start(RollBack())[0]))


def test_going_on_from_a_state_is_going_through():
    policy, examples = RollBack(every_steps=2), jnp.float32([1, 2, NAN, 4, NAN, 8])
    state, steps, _ = start(policy)
    whole = steps(state, examples)[0]
    half = jax.device_get(steps(state, examples[:3])[0])  # as a checkpoint has it
    assert same_bits(steps(half, examples[3:])[0], whole)


@pytest.mark.parametrize("how", ["map", "vmap"])
@pytest.mark.parametrize("policy", [Stop(), Skip(), RollBack(every_steps=2)])
def test_a_member_that_diverges_disturbs_no_other(how, policy):
    state, steps, slots = start(policy)
    population = populate(steps, how, slots)

    def of(*members):
        states = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(members)), state)
        return population(states, jnp.float32(members))

    bad, good = (1, NAN, 2, INF), ((1, 2, 4, 8), (3, 5, 7, 9))
    three, two = of(good[0], bad, good[1]), of(*good)
    assert same_bits(member(three, 0), member(two, 0))
    assert same_bits(member(three, 2), member(two, 1))


def test_a_run_is_given_up_after_as_many_lost_steps_as_its_policy_says():
    def ends(policy, *lost, before=(0, 0)):
        numbers = np.float32([NAN if each else 1 for each in lost])
        metrics = {"nll": numbers, "gradient_norm": numbers}
        if not isinstance(policy, Stop):
            metrics = {**metrics, LOST: np.float32(lost)}
        return count(Lost(*before), metrics, policy)

    assert ends(Stop(), 0, 0) == (Lost(), None)
    assert ends(Stop(), 0, 1, 1) == (Lost(1, 1), 1)
    assert ends(Skip(limit=2), 1, 0, 1) == (Lost(2, 1), None)
    assert ends(Skip(limit=2), 1, 0, before=(2, 1)) == (Lost(3, 2), 0)
    assert ends(Skip(limit=2), 0, 0, before=(2, 1)) == (Lost(2, 0), None)
    assert ends(RollBack(limit=2), 1, 0, 1) == (Lost(2, 1), 2)
    assert ends(RollBack(limit=3), 0, 1, before=(2, 0)) == (Lost(3, 1), 1)
