from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute.parameters import by_group
from lm_lab.nn.pooling import Pooled, pool, pool_each
from lm_lab.types import Inputs
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, WIDTH, distance

CLASSES = 3
# Padding on the right, on the left, on both sides, nowhere.
SEGMENTS = jnp.asarray([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
X = tiny.normal(*SEGMENTS.shape, WIDTH)


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
    segments = jnp.where(jnp.arange(LENGTH) < jnp.asarray([[LENGTH], [5]]), 1, 0)
    inputs = Inputs(tokens, segments)
    features = model.apply({"params": params["model"]}, inputs, method="features")
    expected = (
        np.stack([features[0, -1], features[1, 4]]) @ params["head"]["kernel"]
        + params["head"]["bias"]
    )
    logits: Any = pooled.apply({"params": params}, inputs)
    assert (logits.shape, logits.dtype) == ((2, 1, CLASSES), jnp.float32)
    assert distance(logits[:, 0], expected) < ROUNDING
    vector: Any = pooled.apply({"params": params}, inputs, method="features")
    assert vector.shape == (2, 1, WIDTH)
    assert distance(pooled.apply({"params": params}, vector, method="readout"), logits) == 0


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
    segments = jnp.where(jnp.arange(LENGTH) < 5, 1, jnp.where(jnp.arange(LENGTH) < 8, 2, 0))
    segments = jnp.broadcast_to(segments, tokens.shape)
    places = jnp.where(jnp.arange(LENGTH) < 5, jnp.arange(LENGTH), jnp.arange(LENGTH) - 5)
    ids = jnp.broadcast_to(jnp.asarray([1, 2]), (len(tokens), 2))
    packed = Inputs(tokens, segments, jnp.broadcast_to(places, tokens.shape), pooled=ids)
    together: Any = pooled.apply({"params": params}, packed)
    assert together.shape == (len(tokens), 2, CLASSES)
    for text, (first, end) in enumerate(((0, 5), (5, 8))):
        alone = pooled.apply({"params": params}, Inputs(tokens[:, first:end]))
        assert distance(together[:, text], alone[:, 0]) < ROUNDING
