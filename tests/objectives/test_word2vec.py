import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.objectives import word2vec
from lm_lab.objectives.word2vec import Config
from lm_lab.types import Batch, Examples, Inputs, Vocabulary
from tests import tiny
from tests.tiny import ROUNDING, distance

SIZE, LENGTH, ROWS = 20, 30, 8
ALL = Config(subsample=None)


def examples(segments=None, tokens=None):
    tokens = tiny.tokens(ROWS, LENGTH, vocab=SIZE) if tokens is None else tokens
    return Examples(tokens, jnp.ones(tokens.shape), segments)


def prepared(config, given, key=0):
    objective = word2vec.make(config, LENGTH, Vocabulary(SIZE, SIZE - 1, None, None))
    return jax.jit(objective.prepare)(jax.random.key(key), given)


def places_apart(weights):
    """How often a neighbour stands so many places after its word, [B L 2W]
    of pairs being counted.
    """
    return np.asarray(weights).reshape(ROWS, LENGTH, -1)


@pytest.mark.parametrize("kind", ["skip_gram", "cbow"])
def test_words_meet_their_neighbours_within_the_window_and_the_segment(kind):
    tokens = jnp.arange(ROWS * LENGTH).reshape(ROWS, LENGTH)  # no word twice: a word is a place
    segments = jnp.where(jnp.arange(LENGTH) < 11, 1, jnp.where(jnp.arange(LENGTH) < 27, 2, 0))
    given = examples(jnp.broadcast_to(segments, tokens.shape), tokens)
    config = dataclasses.replace(ALL, kind=kind, window=3)
    objective = word2vec.make(config, LENGTH, Vocabulary(ROWS * LENGTH, 0, None, None))
    batch = jax.jit(objective.prepare)(jax.random.key(0), given)
    there = np.asarray(batch.inputs.segments) > 0
    target = np.broadcast_to(
        batch.targets[..., None] if kind == "cbow" else batch.targets, there.shape
    )[there]
    word = np.asarray(batch.inputs.tokens)[there]
    apart = np.abs(target - word)
    assert (apart >= 1).all()
    assert (apart <= 3).all()
    assert (target // LENGTH == word // LENGTH).all()
    assert (np.asarray(segments)[target % LENGTH] == np.asarray(segments)[word % LENGTH]).all()
    assert (np.asarray(segments)[word % LENGTH] > 0).all()
    # Both sides are looked at, and each distance up to the one drawn: nearer ones more often.
    assert np.bincount(apart)[1] > np.bincount(apart)[2] > np.bincount(apart)[3] > 0
    assert ((target > word).any(), (target < word).any()) == (True, True)


def test_windows_are_drawn_evenly():
    batches = [prepared(ALL, examples(), key) for key in range(20)]
    near = np.mean([places_apart(batch.weights)[:, 5:-5].mean((0, 1)) for batch in batches], 0)
    # A neighbour j away is seen by windows of j or more: (6 - j) / 5. 3200 draws each: a deviation
    # of 0.009.
    assert near == pytest.approx(np.array([1, 2, 3, 4, 5, 5, 4, 3, 2, 1]) / 5, abs=0.04)


@pytest.mark.parametrize("counts", ["batch", "ranks"])
def test_negatives_are_drawn_by_counts_to_the_power(counts):
    tokens = jnp.asarray(
        np.minimum(np.random.default_rng(0).geometric(0.3, (ROWS, LENGTH)), SIZE - 1), jnp.int32
    )
    config = dataclasses.replace(ALL, counts=counts, negatives=20)
    batch = prepared(config, examples(tokens=tokens))
    drawn = np.bincount(np.asarray(batch.inputs.context[..., 1:]).ravel(), minlength=SIZE)
    counted = (
        np.bincount(np.asarray(tokens).ravel(), minlength=SIZE)
        if counts == "batch"
        else 1 / (np.arange(SIZE) + 2.7)
    )
    share = counted**0.75 / (counted**0.75).sum()
    # 48,000 draws: deviations of at most 0.0023.
    assert drawn / drawn.sum() == pytest.approx(share, abs=0.01)
    assert (drawn[counted == 0] == 0).all()
    assert (batch.inputs.context[..., 0] == batch.targets).all()


def test_frequent_words_are_left_out_and_the_others_move_up():
    tokens = jnp.where(jnp.arange(LENGTH) % 2 == 0, 0, jnp.arange(LENGTH))[None].repeat(ROWS, 0)
    config = Config(subsample=0.01, window=1)
    objective = word2vec.make(config, LENGTH, Vocabulary(LENGTH, 0, None, None))
    share = np.asarray(word2vec.frequencies(config, LENGTH, examples(tokens=tokens)))
    assert share[0] == pytest.approx(0.5)
    keys = jax.random.split(jax.random.key(0), 50)
    kept_tokens, kept = jax.vmap(
        lambda key: word2vec._subsampled(config, jnp.asarray(share), key, examples(tokens=tokens))
    )(keys)
    zeros = np.sum((kept_tokens == 0) & (kept > 0)) / (50 * ROWS * LENGTH / 2)
    # sqrt(s / f) + s / f; 6000 draws: a deviation of 0.005.
    assert zeros == pytest.approx((0.01 / 0.5) ** 0.5 + 0.01 / 0.5, abs=0.02)
    lengths = np.asarray((kept > 0).sum(-1))
    assert (np.asarray(kept) == (np.arange(LENGTH) < lengths[..., None])).all()
    batch = jax.jit(objective.prepare)(jax.random.key(0), examples(tokens=tokens))
    there = np.asarray(batch.weights) > 0
    # Neighbours in what is left were two places apart in the text.
    assert (np.abs(np.asarray(batch.targets - batch.inputs.tokens))[there] > 1).any()


def test_the_loss_is_the_papers():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 3, 5))
    candidates = jnp.asarray([[[4, 1, 2, 3, 4]] * 3] * 2)  # the last of those drawn is the target
    weights = np.array([[1, 0, 1], [1, 1, 0]])
    batch = Batch(
        Inputs(candidates[..., 0], context=candidates),
        candidates[..., 0],
        jnp.float32(weights),
        jnp.zeros((2, 3)),
    )
    sums = word2vec.loss(jnp.float32(scores), batch)

    def log_sigmoid(x):
        return -np.log1p(np.exp(-x))

    expected = -(log_sigmoid(scores[..., 0]) + log_sigmoid(-scores[..., 1:4]).sum(-1)) * weights
    assert distance(sums["nll"], expected.sum()) < ROUNDING
    assert float(sums["weight"]) == 4
    assert float(sums["correct"]) == ((scores[..., 0] > scores[..., 1:4].max(-1)) * weights).sum()
    assert "bytes" not in sums
