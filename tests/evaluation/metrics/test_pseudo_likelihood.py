import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.evaluation.metrics.pseudo_likelihood import pseudo_likelihood, rates
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.types import Examples, Inputs, Vocabulary
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, VOCAB, distance

VOCABULARY = Vocabulary(VOCAB - 1, 3, np.zeros(VOCAB - 1, np.uint8), np.zeros(VOCAB - 1, bool))
MASK = VOCABULARY.size
SEGMENTS = jnp.asarray(
    [[1] * 7 + [2] * 6 + [0] * (LENGTH - 13), [0] * 2 + [1] * (LENGTH - 2), [1] * LENGTH]
)


def examples(seed, segments=None):
    tokens = tiny.tokens(3, seed=seed, vocab=MASK)
    return Examples(tokens, 1.0 + tokens % 3, segments)


def brute_force(model, params, given):
    """Token by token, document by document, each alone in its row."""
    logits = jax.jit(
        lambda tokens, segments: model.apply({"params": params}, Inputs(tokens, segments))
    )
    sums = {"nll": 0.0, "weight": 0.0, "bytes": 0.0}
    for row in range(3):
        segments = np.ones(LENGTH) if given.segments is None else np.asarray(given.segments[row])
        for document in sorted(set(segments.tolist()) - {0}):
            places = np.flatnonzero(segments == document)
            text = np.asarray(given.tokens[row])[places]
            for index, token in enumerate(text):
                if token == VOCABULARY.end_of_document:
                    continue
                masked = np.zeros(LENGTH, np.int32)
                masked[: len(text)] = text
                masked[index] = MASK
                real = (np.arange(LENGTH) < len(text)).astype(np.int32)
                scores = np.asarray(logits(masked[None], real[None])[0, index], np.float64)
                sums["nll"] += np.log(np.exp(scores).sum()) - scores[token]
                sums["weight"] += 1
                sums["bytes"] += float(given.bytes[row, places[index]])
    return sums


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_it_is_the_sum_over_tokens_masked_one_by_one(segments):
    model = tiny.model("encoder")
    params = tiny.params_of(model, Inputs(tiny.tokens()))
    parts = [examples(seed, segments) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    sums = jax.jit(pseudo_likelihood(model, VOCABULARY, "float32"))(params, stacked)
    each = [brute_force(model, params, part) for part in parts]
    expected = {name: np.float64(each[0][name] + each[1][name]) for name in each[0]}
    assert distance({name: sums[name] for name in expected}, expected) < ROUNDING


def test_rates_are_named_as_pseudo():
    assert rates({"nll": 4 * np.log(2.0), "weight": 2.0, "bytes": 8.0}) == pytest.approx(
        {"pseudo_nll": 2 * np.log(2.0), "pseudo_bits_per_byte": 0.5}
    )


def test_a_run_of_masked_tokens_ends_with_it(tmp_path):
    changes = {"model.family": "encoder", "objective.name": "masked", "objective.pseudo_batches": 1}
    result = loop.train([Run(*tiny.resolve(changes), tmp_path)])[0]
    measured = result["final"]
    # After a few steps: near what blind guessing costs, a byte a token.
    assert 0.1 < measured["eval/heldout/pseudo_nll"] < 2 * np.log(258)
    bits = measured["eval/heldout/pseudo_nll"] / np.log(2)
    assert measured["eval/heldout/pseudo_bits_per_byte"] == pytest.approx(bits)
