import math

import jax
import jax.numpy as jnp
import pytest

from lm_lab.evaluation.likelihood import evaluate, likelihood, rates
from lm_lab.types import Inputs
from tests import tiny
from tests.tiny import ROUNDING, VOCAB, distance


def built(**changes):
    objective = tiny.bound(tiny.resolve()[0]).objective
    model = tiny.model(**changes)
    params = tiny.params_of(model, Inputs(tiny.tokens()))
    parts = [tiny.examples(seed=seed) for seed in range(3)]
    return model, objective, params, parts


def stacked(parts):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def test_sums_over_batches_are_the_sums_of_each():
    model, objective, params, parts = built(
        dropout=0.5
    )  # and nothing is dropped: each time is the same
    total = jax.jit(likelihood(model, objective, "float32"))
    whole = total(params, stacked(parts))
    each = [total(params, stacked([part])) for part in parts]
    assert distance(whole, jax.tree.map(lambda *sums: sum(sums), *each)) < ROUNDING
    assert tiny.same_bits(whole, total(params, stacked(parts)))
    assert float(whole["weight"]) == 3 * tiny.ROWS * tiny.LENGTH


def test_the_selection_is_summed_apart_and_the_rest_as_if_alone():
    model, objective, params, parts = built()
    total = jax.jit(likelihood(model, objective, "float32"))
    every = jax.jit(evaluate(model, {"heldout": objective}, "float32", selection=1))
    sums = every(params, stacked(parts))
    assert sums.keys() == {"heldout", "heldout_selection"}
    assert tiny.same_bits(sums["heldout_selection"], total(params, stacked(parts[:1])))
    assert tiny.same_bits(sums["heldout"], total(params, stacked(parts[1:])))


def test_half_precision_sums_are_float32():
    model, objective, params, parts = built()
    half = jax.jit(likelihood(model, objective, "bfloat16"))(params, stacked(parts))
    assert {sum_.dtype for sum_ in half.values()} == {jnp.dtype("float32")}
    full = jax.jit(likelihood(model, objective, "float32"))(params, stacked(parts))
    assert float(half["nll"]) == pytest.approx(float(full["nll"]), rel=0.01)


def test_bits_per_byte_have_known_values():
    # 100 targets of 2 bytes each at a probability of 1/16: 4 bits a target, 2 a byte.
    known = rates({"nll": 100 * math.log(16), "weight": 100, "bytes": 200})
    assert known == pytest.approx({"nll": math.log(16), "bits_per_byte": 2.0})


def test_nothing_counted_is_no_number():
    assert all(
        math.isnan(rate) for rate in rates({"nll": 0.0, "weight": 0.0, "bytes": 0.0}).values()
    )


def test_a_uniform_model_pays_the_logarithm_of_the_vocabulary():
    model, objective, params, parts = built()
    silent = jax.tree.map(jnp.zeros_like, params)
    sums = jax.jit(likelihood(model, objective, "float32"))(silent, stacked(parts))
    assert rates(sums)["nll"] == pytest.approx(math.log(VOCAB), rel=ROUNDING)
