import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.objectives import span_corruption
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.types import Examples, UserError, Vocabulary
from tests import tiny

SIZE, LENGTH, ROWS = 50, 60, 64
VOCABULARY = Vocabulary(SIZE, SIZE - 1, np.ones(SIZE, np.uint8), np.zeros(SIZE, bool))
TOKENS = tiny.tokens(ROWS, LENGTH, vocab=SIZE)
SEGMENTS = jnp.where(
    jnp.arange(LENGTH) < 20, 1, jnp.where(jnp.arange(LENGTH) < 50, 2, 0)
) * jnp.ones((ROWS, 1), int)
NOISE, SPANS = 9, 3
START = SIZE + SPANS + 1


def drawn(seed=0, segments=None, **settings):
    config = span_corruption.Config(**settings)
    objective = span_corruption.make(config, LENGTH, VOCABULARY)
    return jax.jit(objective.prepare)(
        jax.random.key(seed), Examples(TOKENS, 1.0 + TOKENS, segments)
    )


def restored(context, targets):
    """The text: every sentinel of the context replaced by what the targets say after it."""
    said, current = {}, None
    for token in targets:
        if token >= SIZE:
            current = said.setdefault(token, [])
        else:
            assert current is not None
            current.append(token)
    return [t for token in context for t in (said[token] if token >= SIZE else [token])]


def test_the_example_of_the_docstring(monkeypatch):
    monkeypatch.setattr(
        span_corruption, "spans", lambda *_: jnp.asarray([0, 1, 1, 0, 0, 1, 1, 0], bool)
    )
    row = jnp.arange(8), jnp.ones(8), jnp.ones(8, jnp.int32)
    (context, _), (targets, bytes_, _) = span_corruption._corrupt(
        (4, 2), (100, 101, 102), 6, jax.random.key(0), *row
    )
    assert context.tolist() == [0, 100, 3, 4, 101, 7]
    assert targets.tolist() == [100, 1, 2, 101, 5, 6, 102]
    assert bytes_.tolist() == [0, 1, 1, 0, 1, 1, 0]


def test_context_and_targets_give_the_text_back():
    batch = drawn()
    assert span_corruption.special_ids(span_corruption.Config(), LENGTH, VOCABULARY) == SPANS + 2
    assert batch.inputs.context is not None
    assert batch.inputs.context.shape == (ROWS, LENGTH - NOISE + SPANS)
    assert batch.targets.shape == batch.inputs.tokens.shape == (ROWS, NOISE + SPANS + 1)
    for row in range(ROWS):
        context, targets = batch.inputs.context[row].tolist(), batch.targets[row].tolist()
        assert restored(context, targets) == TOKENS[row].tolist()
        assert [token for token in context if token >= SIZE] == [SIZE + i for i in range(SPANS)]
        assert [token for token in targets if token >= SIZE] == [SIZE + i for i in range(SPANS + 1)]
        assert targets[0] == SIZE
        assert targets[-1] == SIZE + SPANS
        assert batch.inputs.tokens[row].tolist() == [START, *targets[:-1]]
    assert (batch.weights == 1).all()
    # Sentinels stand for no text, and a token for its own.
    assert (np.asarray(batch.bytes) == np.where(batch.targets >= SIZE, 0, 1 + batch.targets)).all()


def test_segments_are_corrupted_each_on_its_own():
    batch = drawn(segments=SEGMENTS)
    inputs = batch.inputs
    assert inputs.context is not None
    assert inputs.context_segments is not None
    assert inputs.segments is not None
    assert inputs.context.shape == (ROWS, LENGTH)
    cut = 0
    for row in range(ROWS):
        whole = TOKENS[row].tolist()
        for segment, text in ((1, whole[:20]), (2, whole[20:50])):
            own, said = (
                np.asarray(inputs.context_segments[row]) == segment,
                np.asarray(inputs.segments[row]) == segment,
            )
            context, targets = (
                np.asarray(inputs.context[row])[own],
                np.asarray(batch.targets[row])[said],
            )
            assert restored(context.tolist(), targets.tolist()) == text
            if said.any():
                assert np.asarray(inputs.tokens[row])[said].tolist() == [
                    START,
                    *targets[:-1].tolist(),
                ]
                assert np.asarray(inputs.positions[row])[said].tolist() == list(range(said.sum()))
        cut += int((inputs.segments[row] > 0).sum() < NOISE + SPANS + 1)
        padding = np.asarray(inputs.context_segments[row]) == 0
        assert (np.asarray(inputs.context[row])[padding] == 0).all()
        assert (np.diff(padding.astype(int)) >= 0).all()  # all of it on the right
    assert cut > 0


def test_every_place_but_the_first_is_hidden_about_as_often():
    masks = jax.jit(jax.vmap(lambda key: span_corruption.spans(key, 12, 4, 2)))(
        jax.random.split(jax.random.key(1), 4000)
    )
    found = np.asarray(masks)
    assert (found.sum(1) == 4).all()
    assert ((np.diff(found.astype(int), axis=1) == 1).sum(1) == 2).all()
    assert not found[:, 0].any()
    # Two compositions of 8 and of 4 into two parts: (8 - 1)(4 - 1) masks, all alike.
    masks, counts = np.unique(found, axis=0, return_counts=True)
    assert len(masks) == 21
    assert (np.abs(counts - 4000 / 21) < 5 * (4000 / 21) ** 0.5).all()


def test_rate_and_length_of_spans():
    batch = drawn(noise_density=0.3, mean_span=2.0)
    assert (np.asarray(batch.targets) < SIZE).sum() == ROWS * 18
    assert (np.asarray(batch.inputs.context) >= SIZE).sum() == ROWS * 9


@pytest.mark.parametrize(
    "settings, length", [({"noise_density": 0.6, "mean_span": 1.0}, 60), ({}, 1), ({}, 2)]
)
def test_windows_without_room_are_refused(settings, length):
    with pytest.raises(UserError, match=r"config\.data\.length"):
        span_corruption.make(span_corruption.Config(**settings), length, VOCABULARY)


def test_a_model_without_a_context_is_refused():
    with pytest.raises(UserError, match="'span_corruption' gives a context, and this"):
        tiny.resolve({"objective.name": "span_corruption"})


LEARNS = {
    "model.family": "encoder_decoder",
    "train.steps": 60,
    "train.steps_per_call": 20,
    "train.eval_every_steps": 60,
    "train.checkpoint_every_steps": 60,
}


@pytest.mark.parametrize("objective, ids", [("span_corruption", 257 + 3), ("denoising", 257 + 2)])
def test_the_vocabulary_has_its_own_ids(objective, ids):
    experiment, _ = tiny.resolve(LEARNS | {"objective.name": objective})
    assert experiment.model.settings.vocab == ids


def test_a_run_learns_it(tmp_path):
    experiment, resolved = tiny.resolve(LEARNS | {"objective.name": "span_corruption"})
    result = loop.train([Run(experiment, resolved, tmp_path)])[0]
    assert result["final"]["eval/heldout/nll"] < 0.5 * np.log(experiment.model.settings.vocab)


@pytest.mark.parametrize("objective", ["span_corruption", "denoising"])
def test_isolated_documents_do_not_see_each_other(objective):
    experiment, _ = tiny.resolve({"model.family": "encoder_decoder", "objective.name": objective})
    model, prepare = tiny.bound(experiment).model, jax.jit(tiny.bound(experiment).objective.prepare)
    tokens = tiny.tokens(2, tiny.LENGTH)
    segments = jnp.where(jnp.arange(tiny.LENGTH) < 9, 1, 2) * jnp.ones_like(tokens)
    # The same corruption of a text whose first document is another.
    other = tokens.at[:, :9].set((tokens[:, :9] + 1) % tiny.VOCAB)
    one, changed = (
        prepare(jax.random.key(0), Examples(t, jnp.ones(t.shape), segments))
        for t in (tokens, other)
    )
    params = tiny.params_of(model, one.inputs)
    logits = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    second = np.asarray(one.inputs.segments) == 2
    assert second.any()
    assert tiny.same_bits(
        np.asarray(logits(one.inputs))[second], np.asarray(logits(changed.inputs))[second]
    )
