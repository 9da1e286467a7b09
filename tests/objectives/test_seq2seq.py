"""Sequence to sequence: the likelihood of the target alone, given the source, whatever the padding
around them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from lm_lab import registry
from lm_lab.contracts import ModelInfo
from lm_lab.engine.step import gradients
from lm_lab.objectives import seq2seq
from lm_lab.types import Examples, Inputs, UserError, Vocabulary
from tests import tiny

VOCABULARY = Vocabulary(
    tiny.VOCAB - 1, 5, np.zeros(tiny.VOCAB - 1, np.uint8), np.zeros(tiny.VOCAB - 1, bool)
)
SOURCES, TARGETS = [3, 6, 3], [4, 2, 4]  # tokens, the end too


def padded(sizes, length, seed):
    """(tokens, segments) of rows of these sizes."""
    there = np.arange(length) < np.array(sizes)[:, None]
    tokens = np.random.default_rng(seed).integers(6, VOCABULARY.size, (len(sizes), length)) * there
    tokens[np.arange(len(sizes)), np.array(sizes) - 1] = VOCABULARY.end_of_document
    return tokens.astype(np.int32), there.astype(np.int32)


def examples(extra=0):
    (context, context_segments), (tokens, segments) = (
        padded(SOURCES, 6 + extra, 1),
        padded(TARGETS, 5 + extra, 2),
    )
    # The draws depend on the length: those of the unpadded rows are put into longer ones.
    if extra:
        short = examples()
        assert short.context is not None
        context = np.pad(short.context, ((0, 0), (0, extra)))
        tokens = np.pad(short.tokens, ((0, 0), (0, extra)))
    return Examples(tokens, np.float32(2) * segments, segments, context, context_segments)  # type: ignore[arg-type]


def info(family):
    contract = registry.load("models", family, "family")
    return ModelInfo("causal", contract.needs_context)


def setting(family, **changes):
    """(model, parameters, complete settings) of a family."""
    model = tiny.model(family)
    settings = seq2seq.complete(seq2seq.Config(**changes), info(family))
    prepare = seq2seq.make(settings, 5, VOCABULARY).prepare
    inputs = jax.eval_shape(prepare, jax.random.key(0), examples()).inputs
    return model, tiny.params_of(model, inputs), settings


def sums(model, params, settings, given):
    objective = seq2seq.make(settings, 5, VOCABULARY)

    @jax.jit
    def of(params, given):
        batch = objective.prepare(jax.random.key(0), given)
        return objective.loss(model.apply({"params": params}, batch.inputs), batch)

    return of(params, given)


def by_hand(model, params, settings, given):
    """The sum over rows of the target's log likelihood, each row alone and without padding."""

    @jax.jit
    def logits_of(inputs):
        return model.apply({"params": params}, inputs)[0]

    total = 0.0
    for row, (size, count) in enumerate(zip(SOURCES, TARGETS)):
        source, target = given.context[row, :size], given.tokens[row, :count]
        if settings.form == "context":
            start = np.array([VOCABULARY.size, *target[:-1]])
            logits = np.asarray(logits_of(Inputs(start[None], context=source[None])))
        else:
            both = np.concatenate([source, target[:-1]])
            prefix = (np.arange(len(both)) < size)[None] if settings.prefix else None
            logits = np.asarray(logits_of(Inputs(both[None], prefix=prefix)))[size - 1 :]
        total -= float(log_softmax(logits, axis=-1)[np.arange(count), target].sum())
    return total


@pytest.mark.parametrize(
    "family, changes",
    [("decoder", {}), ("decoder", {"prefix": True}), ("rnn", {}), ("encoder_decoder", {})],
)
def test_the_loss_is_that_of_each_target_alone(family, changes):
    model, params, settings = setting(family, **changes)
    found = sums(model, params, settings, examples())
    assert found["nll"] == pytest.approx(
        by_hand(model, params, settings, examples()), rel=tiny.ROUNDING
    )
    assert float(found["weight"]) == sum(TARGETS)
    assert float(found["bytes"]) == 2 * sum(TARGETS)
    more = sums(model, params, settings, examples(extra=3))
    assert more["nll"] == pytest.approx(float(found["nll"]), rel=tiny.ROUNDING)
    assert more["weight"] == found["weight"]


def test_pairs_in_one_row_are_learnt_as_in_rows_of_their_own():
    model, params, settings = setting("encoder_decoder")
    apart = examples()

    def joined(tokens, sizes):
        row = np.concatenate([tokens[number, :size] for number, size in enumerate(sizes)])
        segments = np.repeat(np.arange(len(sizes)) + 1, sizes)
        return np.pad(row, (0, 2))[None], np.pad(segments, (0, 2))[None]

    (context, context_segments), (tokens, segments) = (
        joined(apart.context, SOURCES),
        joined(apart.tokens, TARGETS),
    )
    together = Examples(tokens, 2.0 * (segments > 0), segments, context, context_segments)
    found, wanted = (sums(model, params, settings, given) for given in (together, apart))
    assert found["nll"] == pytest.approx(float(wanted["nll"]), rel=tiny.ROUNDING)
    assert found["weight"] == wanted["weight"]


def test_smoothed_labels_are_those_of_optax_and_the_likelihood_stays_as_it_is():
    logits = 3 * tiny.normal(2, 5, tiny.VOCAB)
    given, prepare = examples(), seq2seq.make(seq2seq.Config(form="context"), 5, VOCABULARY).prepare
    batch = prepare(jax.random.key(0), given)
    plain, smooth = (
        seq2seq.make(seq2seq.Config(form="context", label_smoothing=share), 5, VOCABULARY).loss
        for share in (0.0, 0.1)
    )
    logits = jnp.resize(logits, (*batch.targets.shape, tiny.VOCAB))
    labels = optax.smooth_labels(jax.nn.one_hot(batch.targets, tiny.VOCAB), 0.1)
    wanted = (optax.softmax_cross_entropy(logits, labels) * batch.weights).sum()
    found = smooth(logits, batch)
    assert found["nll"] + found["penalty"] == pytest.approx(float(wanted), rel=tiny.ROUNDING)
    assert found["nll"] == plain(logits, batch)["nll"]


def test_a_penalty_is_learnt():
    model, params, settings = setting("encoder_decoder", label_smoothing=0.1)
    objective = seq2seq.make(settings, 5, VOCABULARY)
    batch = objective.prepare(jax.random.key(0), examples())

    def whole(params):
        sums = objective.loss(model.apply({"params": params}, batch.inputs), batch)
        return sums["nll"] + sums["penalty"]

    found, (sums, _) = jax.jit(gradients(model, objective, "float32"))(
        params, batch, jax.random.key(0)
    )
    assert tiny.distance(found, jax.jit(jax.grad(whole))(params)) < tiny.ROUNDING
    assert sums["penalty"] != 0


@pytest.mark.parametrize("family", ["decoder", "encoder_decoder"])
def test_what_the_prompt_gives_is_what_training_gave_before_the_first_target(family):
    model, params, settings = setting(family)
    prepare = seq2seq.make(settings, 5, VOCABULARY).prepare

    @jax.jit
    def taught_and_given(examples):
        batch = prepare(jax.random.key(0), examples)
        prompt = seq2seq.prompt(settings, VOCABULARY, examples)
        inputs = (batch.inputs, prompt)
        return batch.weights, [model.apply({"params": params}, each) for each in inputs]

    weights, (taught, given) = jax.tree.map(np.asarray, taught_and_given(examples()))
    first = int(weights[0].argmax())
    assert (weights[:, :first] == 0).all()
    assert tiny.distance(given[:, -1], taught[:, first]) < tiny.ROUNDING


def test_lengths_and_special_ids():
    context, joined = (seq2seq.Config(form=form) for form in ("context", "joined"))
    assert seq2seq.model_length(context, 5, 6) == 6
    assert seq2seq.model_length(joined, 5, 6) == 10
    assert [seq2seq.special_ids(config, 5, VOCABULARY) for config in (context, joined)] == [1, 0]


def test_a_form_that_the_model_does_not_read_is_refused():
    for family, form in (("decoder", "context"), ("encoder_decoder", "joined")):
        with pytest.raises(UserError, match=rf"form '{form}' is not for this config\.model"):
            seq2seq.complete(seq2seq.Config(form=form), info(family))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="prefix is of a joined row"):
        seq2seq.Config(form="context", prefix=True)
