"""Chunked cross-entropy: the logits of a part of each row at a time."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from lm_lab.engine.chunked import join_positions, split_positions
from lm_lab.engine.step import gradients
from lm_lab.evaluation.text_model import text_models
from lm_lab.objectives._common import of_likelihood
from lm_lab.train.evaluation_tasks import text_run
from lm_lab.types import Batch, Inputs, UserError
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, ROWS, VOCAB, distance

UNEVEN = 3  # no divisor of LENGTH, so that the last part is filled up
KEY = jax.random.key(0)


def batch_of(inputs, tokens_BL):
    """A batch whose targets are other tokens, some of them ignored."""
    weights = (tokens_BL % 3 > 0).astype(jnp.float32)
    return Batch(inputs, (tokens_BL * 7 + 1) % VOCAB, weights, weights * 2)


def gradient_of(model, params, batch, chunk, compute="float32"):
    """(gradient, sums) with label smoothing, which adds a penalty."""
    objective = of_likelihood(lambda key, examples: batch, smoothing=0.1)
    made = gradients(model, objective, compute, chunk=chunk)
    gradient, (sums, _) = jax.jit(made)(params, batch, KEY)
    return gradient, sums


@pytest.mark.parametrize("chunk", [1, UNEVEN, LENGTH, 10 * LENGTH])
def test_positions_are_split_and_joined(chunk):
    leaf = jnp.arange(2 * LENGTH * 3).reshape(2, LENGTH, 3)
    parts = split_positions(leaf, chunk)
    assert parts.shape[2] == min(chunk, LENGTH)
    assert (join_positions(parts, LENGTH) == leaf).all()


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder", "rnn"])
def test_gradients_and_sums_are_those_of_all_logits_at_once(family):
    model, tokens = tiny.model(family), tiny.tokens(ROWS)
    inputs = tiny.inputs(family, tokens)
    params, batch = tiny.random_params(model, inputs), batch_of(inputs, tokens)
    whole = gradient_of(model, params, batch, None)
    assert float(whole[1]["penalty"]) != 0
    assert distance(gradient_of(model, params, batch, UNEVEN), whole) < ROUNDING


def test_gradients_of_parts_are_added_in_the_dtype_of_the_parameters():
    # In bfloat16 sixteen parts, added one by one, would be several times further from float32.
    model, tokens = tiny.model("decoder"), tiny.tokens(ROWS)
    params, batch = (
        tiny.random_params(model, Inputs(tokens)),
        batch_of(Inputs(tokens), tokens),
    )
    exact = gradient_of(model, params, batch, None)[0]
    whole, parts = (gradient_of(model, params, batch, n, "bfloat16")[0] for n in (None, 1))
    assert distance(parts, exact) < 1.5 * distance(whole, exact)


def test_memory_falls_by_ten_at_a_vocabulary_of_128k():
    rows, length, vocab = 8, 1024, 131072
    model = tiny.model("decoder", vocab=vocab, depth=1)
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    floats = jax.ShapeDtypeStruct((rows, length), jnp.float32)
    batch = Batch(Inputs(tokens), tokens, floats, floats)
    params = jax.eval_shape(lambda: tiny.params_of(model, Inputs(tiny.tokens())))

    def bytes_of(chunk):
        made = gradients(model, of_likelihood(lambda *_: batch), "float32", chunk=chunk)
        return (
            jax.jit(made).lower(params, batch, KEY).compile().memory_analysis().temp_size_in_bytes
        )

    whole = bytes_of(None)
    assert whole > rows * length * vocab * 4
    assert bytes_of(16) < whole / 10


def test_a_run_evaluates_and_scores_by_parts():
    task = tiny.bound(tiny.resolve()[0])
    cut = task.replace(train=replace(task.experiment.train, loss_chunk=UNEVEN))
    params = tiny.random_params(task.model, Inputs(tiny.tokens()))
    assert cut.evaluate(params) == pytest.approx(task.evaluate(params), rel=ROUNDING)
    texts = ["abcabcabcab", "ba"]
    whole, parts = (text_models(text_run(each))(params).texts(texts) for each in (task, cut))
    for one, other in zip(whole, parts, strict=True):
        assert other.nats == pytest.approx(one.nats, rel=ROUNDING)


def test_a_loss_that_is_no_sum_over_positions_is_refused():
    changes = {"train.loss_chunk": 4, "objective.name": "word2vec", "model": {"family": "word2vec"}}
    with pytest.raises(UserError, match=r"config\.train\.loss_chunk: config\.objective\.name"):
        tiny.resolve(changes)
