from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute.parameters import by_group
from lm_lab.nn import pooling
from lm_lab.nn.pooling import Pooled
from lm_lab.types import Inputs
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, WIDTH, distance

CLASSES = 3
# Padding on the right, on the left, on both sides, nowhere.
SEGMENTS = jnp.asarray([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
X = tiny.normal(*SEGMENTS.shape, WIDTH)
pool = jax.jit(pooling.pool, static_argnums=2)
pool_each = jax.jit(pooling.pool_each, static_argnums=3)


def real(row):
    return np.asarray(X[row])[np.asarray(SEGMENTS[row]) > 0]


@pytest.mark.parametrize(
    "pooling, of",
    [
        ("first", lambda x: x[0]),
        ("first_tanh", lambda x: x[0]),
        ("last", lambda x: x[-1]),
        ("mean", lambda x: x.mean(0)),
    ],
)
def test_padding_is_passed_over(pooling, of):
    expected = np.stack([of(real(row)) for row in range(len(SEGMENTS))])
    assert distance(pool(X, SEGMENTS, pooling), expected) < ROUNDING
    assert distance(pool(X, None, pooling), np.stack([of(np.asarray(x)) for x in X])) < ROUNDING


@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
def test_a_row_of_padding_is_finite(pooling):
    assert np.isfinite(pool(X, jnp.zeros_like(SEGMENTS), pooling)).all()


def built(pooling):
    model = tiny.model()
    tokens = tiny.tokens()
    pooled = Pooled(model, CLASSES, pooling)
    return model, pooled, tiny.params_of(pooled, Inputs(tokens)), tokens


def test_the_models_parameters_stand_apart_and_are_those_that_it_has_alone():
    model, _, params, tokens = built("first_tanh")
    assert set(params) == {"model", "pooler", "head"}
    alone = tiny.params_of(model, Inputs(tokens))
    del alone["head"]  # the readout, which nothing asks for
    assert jax.tree.map(jnp.shape, params["model"]) == jax.tree.map(jnp.shape, alone)
    assert by_group(params)["other"] == 0
    assert by_group(params)["head"] == WIDTH * CLASSES + CLASSES + WIDTH**2 + WIDTH


def test_it_reads_the_models_features():
    model, pooled, params, tokens = built("last")
    assert set(params) == {"model", "head"}
    segments = (np.arange(LENGTH) < np.asarray([[LENGTH], [5]])).astype(np.int32)
    inputs = Inputs(tokens, segments)

    @jax.jit
    def outputs(params):
        vector: Any = pooled.apply({"params": params}, inputs, method="features")
        return (
            model.apply({"params": params["model"]}, inputs, method="features"),
            pooled.apply({"params": params}, inputs),
            vector,
            pooled.apply({"params": params}, vector, method="readout"),
        )

    features, logits, vector, read_out = jax.tree.map(np.asarray, outputs(params))
    kernel, bias = (np.asarray(params["head"][name]) for name in ("kernel", "bias"))
    expected = np.stack([features[0, -1], features[1, 4]]) @ kernel + bias
    assert (logits.shape, logits.dtype) == ((2, 1, CLASSES), np.float32)
    assert distance(logits[:, 0], expected) < ROUNDING
    assert vector.shape == (2, 1, WIDTH)
    assert distance(read_out, logits) == 0


@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
def test_texts_that_share_a_row_are_pooled_as_if_each_had_a_row(pooling):
    segments = jnp.asarray([[1, 1, 2, 3, 3], [1, 2, 2, 2, 0], [1, 1, 1, 1, 1], [1, 1, 2, 0, 0]])
    found = pool_each(X, segments, jnp.broadcast_to(jnp.arange(1, 4), (4, 3)), pooling)
    for text in range(3):
        alone = pool(X, (segments == text + 1).astype(jnp.int32), pooling)
        there = np.asarray((segments == text + 1).any(1))
        assert distance(found[there, text], alone[there]) < ROUNDING


def test_a_model_says_of_packed_texts_what_it_says_of_each_alone():
    _, pooled, params, tokens = built("last")
    assert LENGTH >= 8
    tokens, slots = np.asarray(tokens), np.arange(LENGTH)
    segments, places, ids = (
        np.broadcast_to(np.asarray(row, np.int32), (len(tokens), len(row)))
        for row in (np.repeat([1, 2, 0], [5, 3, LENGTH - 8]), slots - 5 * (slots >= 5), [1, 2])
    )

    @jax.jit
    def logits(inputs: Inputs) -> Any:
        return pooled.apply({"params": params}, inputs)

    together = np.asarray(logits(Inputs(tokens, segments, places, pooled=ids)))
    assert together.shape == (len(tokens), 2, CLASSES)
    for text, (first, end) in enumerate(((0, 5), (5, 8))):
        alone = np.asarray(logits(Inputs(tokens[:, first:end])))
        assert distance(together[:, text], alone[:, 0]) < ROUNDING
