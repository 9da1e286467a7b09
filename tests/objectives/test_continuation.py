import jax
import jax.numpy as jnp
import pytest

from lm_lab.objectives import causal, continuation
from lm_lab.objectives.continuation import Config
from lm_lab.types import Examples, Vocabulary
from tests import tiny

KEY, LENGTH = jax.random.key(0), 8
VOCABULARY = Vocabulary(256, 255, None, None)
SEGMENTS = jnp.array([[1, 1, 1, 1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 2, 2, 2, 0, 0]])


def batch(as_context, segments=None):
    tokens = tiny.tokens(2, LENGTH + 1)
    examples = Examples(tokens, 1.0 + tokens, segments)
    return continuation.make(Config(0.5, as_context), LENGTH, VOCABULARY).prepare(
        KEY, examples
    ), examples


@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["whole", "packed"])
def test_a_row_and_a_context_are_asked_for_the_same_tokens(segments):
    (row, examples), (read, _) = batch(False, segments), batch(True, segments)
    cut = LENGTH // 2
    assert (read.inputs.context == examples.tokens[:, :cut]).all()
    assert (row.inputs.tokens == examples.tokens[:, :-1]).all()
    for name in ("targets", "weights", "bytes"):
        assert (getattr(row, name)[:, cut - 1 :] == getattr(read, name)).all()
    assert (row.weights[:, : cut - 1] == 0).all()
    assert (read.inputs.tokens == row.inputs.tokens[:, cut - 1 :]).all()
    if segments is not None:
        assert (read.inputs.positions == row.inputs.positions[:, cut - 1 :]).all()
        assert (read.inputs.context_segments == segments[:, :cut]).all()


def test_what_counts_is_causals():
    row, examples = batch(False, SEGMENTS)
    whole = causal.prepare(KEY, examples)
    assert (row.weights == whole.weights * (jnp.arange(LENGTH) >= LENGTH // 2 - 1)).all()


def test_a_prompt_is_the_text_or_its_last_token_beside_it():
    context = jnp.array([[5, 6, 7, 0], [8, 9, 0, 0]])
    there = (context > 0).astype(jnp.int32)
    examples = Examples(context, context, context=context, context_segments=there)
    beside = continuation.prompt(Config(as_context=True), VOCABULARY, examples)
    assert beside.tokens.tolist() == [[7], [9]]
    assert beside.context is context
    row = continuation.prompt(Config(as_context=False), VOCABULARY, examples)
    assert row.tokens.tolist() == [[0, 5, 6, 7], [0, 0, 8, 9]]
    assert row.segments is not None
    assert row.segments.tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]]
