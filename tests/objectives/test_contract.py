"""The contract of an objective that reads a stream of text, stated for every module of
lm_lab/objectives.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import registry
from lm_lab.types import Examples, Vocabulary
from tests import tiny

SIZE, LENGTH, ROWS = 40, 24, 6
VOCABULARY = Vocabulary(
    SIZE, SIZE - 1, (np.arange(SIZE) % 3).astype(np.uint8), np.arange(SIZE) % 7 == 0
)


def load(name):
    return registry.load("objectives", name, "objective")


NAMES = [name for name in registry.names("objectives") if load(name).consumes == "stream"]
# Several documents in a row, padding before, between and after them, one document, and nothing.
SEGMENTS = np.zeros((ROWS, 2 * LENGTH), np.int32)
SEGMENTS[0] = 1
SEGMENTS[1] = 1 + np.arange(2 * LENGTH) // 7
SEGMENTS[2, 5:] = 3
SEGMENTS[3, :11] = 1
SEGMENTS[4, 2:9], SEGMENTS[4, 12:20] = 1, 2


def built(name):
    config = load(name).Config()
    return load(name).make(config, LENGTH, VOCABULARY), load(name).window(config, LENGTH)[0]


def examples(window, isolated=False, seed=0):
    tokens = tiny.tokens(ROWS, window, seed=seed, vocab=SIZE)
    segments = jnp.asarray(SEGMENTS[:, :window]) if isolated else None
    return Examples(tokens, (tokens % 4).astype(jnp.float32), segments)


@functools.cache
def prepared(name):
    """`prepare`, compiled."""
    return jax.jit(built(name)[0].prepare)


@functools.cache
def many(name, isolated):
    """(keys, the batches of all of them, made at once)"""
    objective, window = built(name)
    keys = jax.random.split(jax.random.key(3), 20)
    together = jax.jit(jax.vmap(objective.prepare, (0, None)))
    return keys, together(keys, examples(window, isolated))


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_function_of_key_and_examples_one_by_one_or_many_at_once(name, isolated):
    given = examples(built(name)[1], isolated)
    keys, batches = many(name, isolated)
    each = [prepared(name)(key, given) for key in keys[:4]]
    assert tiny.same_bits(each, [prepared(name)(key, given) for key in keys[:4]])
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[:4], batches)
    assert tiny.same_bits(first, jax.tree.map(lambda *leaves: np.stack(leaves), *each))


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_vocabulary_and_of_the_objective(name, isolated):
    specials = load(name).special_ids(load(name).Config(), LENGTH, VOCABULARY)
    _, batches = many(name, isolated)
    for ids in (batches.inputs.tokens, batches.inputs.context, batches.targets):
        if ids is not None:
            assert ids.dtype == jnp.int32
            assert ids.min() >= 0
            assert ids.max() < SIZE + specials
    assert ((batches.weights == 0) | (batches.weights == 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_no_target_and_never_seen(name):
    batch = prepared(name)(jax.random.key(1), examples(built(name)[1], isolated=True))
    assert batch.inputs.segments is not None
    assert (batch.weights[5] == 0).all()  # a row of padding
    assert (batch.inputs.segments[5] == 0).all()
    assert float(batch.weights[0].sum()) > 0
    assert (np.asarray(batch.weights)[np.asarray(batch.inputs.segments) == 0] == 0).all()
    assert np.isfinite(batch.bytes).all()
