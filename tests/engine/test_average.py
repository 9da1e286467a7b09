"""Exponential moving averages of parameters: the closed form, and their place in the state."""

import jax.numpy as jnp
import numpy as np

from lm_lab.engine.average import average_slot
from lm_lab.engine.state import TrainState, saved
from lm_lab.train import program as programs
from tests import tiny


def begun(w):
    return TrainState(jnp.int32(0), {"w": w}, (), {}, {})


def test_the_average_is_that_of_its_definition():
    slot, rng = average_slot(), np.random.default_rng(0)
    values = rng.normal(size=(40, 3)).astype(np.float32)
    average = slot.init(begun(jnp.asarray(values[0])), ())
    expected, hyper = values[0].astype(np.float64), {"average_decay": jnp.float32(0.7)}
    for step, value in enumerate(values[1:], 1):
        after = TrainState(jnp.int32(step), {"w": jnp.asarray(value)}, (), hyper, {})
        average = slot.update(average, after)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(average["w"], expected, rtol=1e-5)


def test_it_is_in_float32_whatever_the_parameters_are():
    # In bfloat16 a step of 1 - 0.999 would be lost in rounding.
    slot = average_slot()
    average = slot.init(begun(jnp.ones(1, jnp.bfloat16)), ())
    after = TrainState(
        jnp.int32(10_000),
        {"w": jnp.full(1, 2, jnp.bfloat16)},
        (),
        {"average_decay": jnp.float32(0.999)},
        {},
    )
    np.testing.assert_allclose(slot.update(average, after)["w"], 1.001, rtol=1e-6)


def test_runs_without_one_hold_and_save_nothing_of_it():
    with_one, without = (
        programs.assemble(tiny.bound(tiny.resolve({"train.average_decay": decay})[0]))
        for decay in (0.9, None)
    )
    assert "average" in saved(with_one.state, with_one.slots)["slots"]
    assert "slots" not in saved(without.state, without.slots)
    assert "average_decay" not in without.state.hyper
