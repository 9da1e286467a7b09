"""Rounding of new parameters: to the nearest bfloat16, or to one of two neighbours at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.engine.rounding import nearest, stochastic
from lm_lab.types import UserError
from tests import tiny
from tests.engine.test_step import start, step_of, stream
from tests.tiny import member, same_bits

BFLOAT16 = jnp.zeros((), jnp.bfloat16)


def rounded(values, keys):
    """The values f32[N], rounded by each of the keys: f32[keys N]."""
    draw = jax.vmap(lambda key: stochastic((values,), (BFLOAT16,), key)[0])
    return np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(0), keys)), np.float32)


def test_the_mean_is_the_value_and_each_is_one_of_its_two_neighbours():
    values = jnp.array([1.001, -3.1415927, 1e-30, 65503.7, -1e-39, 0.1])
    drawn, exact = rounded(values, 4096), np.asarray(values, np.float64)
    step = np.abs(np.nextafter(values.astype(jnp.bfloat16), jnp.bfloat16(np.inf)).astype(float))
    step -= np.abs(np.asarray(values.astype(jnp.bfloat16), float))
    for column, value, width in zip(drawn.T, exact, np.abs(step)):
        assert len({*column.tolist()}) == 2
        assert np.all(np.abs(column - value) < width)
        # a mean of 4,096 draws of variance at most width^2 / 4, within four standard errors
        assert abs(column.mean(dtype=np.float64) - value) < 4 * width / 2 / 64


def test_what_is_exact_or_not_finite_or_of_another_dtype_stays():
    exact = jnp.array([1.0, -0.5, 0.0, jnp.inf, -jnp.inf, 3.0])
    assert np.all(rounded(exact, 8) == np.asarray(exact))
    assert np.isnan(rounded(jnp.array([jnp.nan]), 8)).all()
    tree = {"moment": jnp.array([0.1]), "count": jnp.int32(3)}
    assert same_bits(stochastic(tree, tree, jax.random.key(0)), tree)


def test_updates_too_small_for_the_nearest_value_add_up():
    one, update = jnp.ones(4096, jnp.bfloat16), 2.0**-12  # a sixteenth of a half step
    keys = jax.random.split(jax.random.key(1), 64)

    def after(rounding):
        def step(x, key):
            return rounding((x + jnp.float32(update),), (x,), key)[0], None

        return jax.jit(lambda: jax.lax.scan(step, one, keys)[0])()

    assert same_bits(after(nearest), one)
    # 64 updates sum to 2^-6; a walk of 64 steps of variance below 2^-16 each, over 4,096 members
    mean = float(after(stochastic).astype(jnp.float32).mean())
    assert abs(mean - 1 - 64 * update) < 4 * 2**-8 * 8 / 64


def test_a_step_rounds_as_its_setting_says_and_its_seed_and_number_decide():
    settings = {"precision.parameters": "bfloat16", "optimizer.peak_rate": 1e-5}
    after = {}
    for name in ("nearest", "stochastic"):
        experiment = tiny.resolve({**settings, "precision.rounding": name})[0]
        step, state = jax.jit(step_of(experiment)), start(experiment=experiment)
        after[name], again, later = (
            step(begun, member(stream(), 0))[0].params
            for begun in (state, state, state._replace(step=jnp.int32(1)))
        )
        assert same_bits(after[name], again)
        assert not same_bits(after[name], later)
    assert not same_bits(after["nearest"], after["stochastic"])
    with pytest.raises(UserError, match="rounding is read with parameters bfloat16 alone"):
        tiny.resolve({"precision.rounding": "stochastic"})
