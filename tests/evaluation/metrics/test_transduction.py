"""What a model writes for a source is what it thinks likeliest, token by token; scores are known
answers.
"""

from functools import partial

import jax
import numpy as np
import pytest

from lm_lab.evaluation.metrics import transduction
from lm_lab.objectives import seq2seq
from tests import tiny
from tests.objectives.test_seq2seq import VOCABULARY, examples, setting, sums

LENGTH = 20


def written(family, beams=1, **changes):
    model, params, settings = setting(family, **changes)

    def prompt(batch):
        return seq2seq.prompt(settings, VOCABULARY, batch)

    # A batch of sources, and one of which only the first is no padding.
    eval_set = jax.tree.map(
        lambda x: np.stack([x, x * (np.arange(3) < 1).reshape(-1, *[1] * (x.ndim - 1))]),
        examples(),
    )
    writer = transduction.Writer(model, prompt, LENGTH, VOCABULARY.end_of_document, beams)
    return model, params, settings, list(writer.write(params, eval_set))


def naive(model, params, settings, row):
    """Greedy, without a cache, one whole pass a token."""
    given = jax.tree.map(lambda x: x[row : row + 1], examples())
    prompt = jax.jit(partial(seq2seq.prompt, settings, VOCABULARY))(given)
    tokens, segments = np.asarray(prompt.tokens), prompt.segments
    assert segments is not None
    found = []
    apply = jax.jit(model.apply)
    for _ in range(LENGTH):
        # Padding on the right keeps the shape, so that this compiles once.
        wide = ((0, 0), (0, LENGTH - len(found)))
        there = np.pad(segments, wide)
        positions = np.maximum(np.cumsum(there, 1, dtype=np.int32) - 1, 0)
        inputs = prompt._replace(tokens=np.pad(tokens, wide), segments=there, positions=positions)
        logits = np.asarray(apply({"params": params}, inputs))
        token = int(logits[0, tokens.shape[1] - 1].argmax())
        if token == VOCABULARY.end_of_document:
            break
        found.append(token)
        tokens = np.append(tokens, np.full((1, 1), token, np.int32), 1)
        segments = np.append(segments, np.ones((1, 1), np.int32), 1)
    return found


@pytest.mark.parametrize("family", ["decoder", "rnn", "encoder_decoder"])
def test_greedy_is_the_likeliest_token_after_token(family):
    model, params, settings, rows = written(family)
    assert len(rows) == 4
    for row in range(3):
        assert rows[row].tolist() == naive(model, params, settings, row)
    assert rows[3].tolist() == rows[0].tolist()


def test_a_beam_finds_nothing_less_likely():
    model, params, settings, greedy = written("decoder")
    *_, searched = written("decoder", beams=4)

    def rate(rows):
        """Nats a token of each."""
        for row, ids in enumerate(rows[:3]):
            target = np.asarray([*ids, VOCABULARY.end_of_document][:LENGTH], np.int32)[None]
            given = jax.tree.map(lambda x, row=row: x[row : row + 1], examples())
            given = given._replace(
                tokens=target, bytes=np.zeros(target.shape), segments=np.ones_like(target)
            )
            found = sums(model, params, settings, given)
            yield float(found["nll"]) / float(found["weight"])

    for one, other in zip(rate(searched), rate(greedy)):
        assert one <= other + tiny.ROUNDING * other


def test_known_scores():
    texts, targets = ["a b c", "a", "x y"], ["a b c", "b", "x z y"]
    found = transduction.score(
        texts, targets, ["exact_match", "word_error_rate", "edit_rate"], "none"
    )
    assert found == pytest.approx(
        {"exact_match": 1 / 3, "word_error_rate": 2 / 3, "edit_rate": 2 / 7}
    )
    assert transduction.distance("kitten", "sitting") == 3
    assert transduction.distance("", "abc") == transduction.distance("abc", "") == 3


def test_bleu_is_sacrebleus():
    pytest.importorskip("sacrebleu")
    text = "the cat sat on the mat today"
    assert transduction.bleu([text], [text], "none") == pytest.approx(100.0)
    # Five words of seven, no further match of order 4 lost but those with the last two: precisions
    # 6/7 5/6 4/5 3/4.
    precisions = np.array([6 / 7, 5 / 6, 4 / 5, 3 / 4])
    found = transduction.bleu(["the cat sat on the mat now"], [text], "none")
    assert found == pytest.approx(100 * np.exp(np.log(precisions).mean()))
