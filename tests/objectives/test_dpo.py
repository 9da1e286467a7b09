"""Direct preference optimisation: the loss and its gradient are those of the paper in float64,
whichever rows the preferences stand in.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.objectives import dpo
from lm_lab.types import Examples, Vocabulary
from tests import tiny

END, VOCAB, BETA, LENGTH = 5, tiny.VOCAB, 0.3, 24
VOCABULARY = Vocabulary(VOCAB, END, np.zeros(VOCAB, np.uint8), np.zeros(VOCAB, bool))
# prompt, chosen, rejected; the second has no prompt
TEXTS = [([7, 8], [9, 10, 11], [12]), ([], [13, 14], [15, 16, 17])]
REFERENCE = np.array([[-3.5, -2.0], [-9.0, -1.25]])


def row(*texts):
    """(tokens, segments, the places of the answers' tokens) of preferences in one row."""
    tokens, segments, places = [], [], []
    for prompt, *answers in texts:
        for answer in answers:
            first = len(tokens) + len(prompt) + 1
            tokens += [*prompt, END, *answer, END]
            segments += [len(places) + 1] * (len(tokens) - len(segments))
            places.append(range(first, len(tokens)))
    padding = [0] * (LENGTH - len(tokens))
    return tokens + padding, segments + padding, places


def examples(rows, reference):
    """Examples of rows, each with as many preferences as another; none in an empty one."""
    tokens, segments, _ = zip(*rows)
    labels = jnp.tile(jnp.array([1.0, 0.0]), (len(rows), reference.shape[1] // 2))
    sizes = jnp.ones((len(rows), LENGTH))
    parts = jnp.asarray(tokens), sizes, jnp.asarray(segments)
    return Examples(*parts, labels=labels, reference=jnp.asarray(reference, jnp.float32))


def expected(logits, rows, reference):
    """(loss, gradient by logits, gain of each answer), in float64, answer by answer."""
    logits = np.asarray(logits, np.float64)
    peak = logits.max(-1, keepdims=True)
    logp = logits - peak - np.log(np.exp(logits - peak).sum(-1, keepdims=True))
    loss, gradient, gains = 0.0, np.zeros_like(logits), []
    for number, (tokens, _, answers) in enumerate(rows):
        for k in range(0, len(answers), 2):
            gain = [
                sum(logp[number, place - 1, tokens[place]] for place in answer)
                - reference[number, k + a]
                for a, answer in enumerate(answers[k : k + 2])
            ]
            gains.append(gain)
            lead = BETA * (gain[0] - gain[1])
            loss += np.log1p(np.exp(-lead))
            slope = -BETA / (1 + np.exp(lead))  # d loss / d gain of the chosen answer
            for sign, answer in zip((1, -1), answers[k : k + 2]):
                for place in answer:
                    one = np.eye(VOCAB)[tokens[place]]
                    gradient[number, place - 1] += (
                        sign * slope * (one - np.exp(logp[number, place - 1]))
                    )
    return loss, gradient, np.array(gains)


@pytest.mark.parametrize(
    "rows, reference",
    [
        ([row(TEXTS[0]), row(TEXTS[1]), row()], np.vstack([REFERENCE, [[0, 0]]])),
        ([row(*TEXTS), row()], np.vstack([REFERENCE.ravel(), [0, 0, 0, 0]])),
    ],
    ids=["one a row", "packed"],
)
def test_loss_and_gradient_are_those_of_the_paper(rows, reference):
    objective = dpo.make(dpo.Config(BETA), LENGTH, VOCABULARY)
    given = examples(rows, reference)
    random = np.random.default_rng(0)
    logits = jnp.asarray(2 * random.normal(size=(len(rows), LENGTH, VOCAB)), jnp.float32)

    def total(logits, given):
        batch = objective.prepare(jax.random.key(0), given)
        sums = objective.loss(logits, batch)
        return sums["nll"], (sums, batch.weights)

    gradient, (sums, weights) = jax.jit(jax.grad(total, has_aux=True))(logits, given)
    loss, expected_gradient, gains = expected(logits, rows, reference)
    assert float(sums["nll"]) == pytest.approx(loss, rel=10 * tiny.ROUNDING)
    np.testing.assert_allclose(gradient, expected_gradient, atol=tiny.ROUNDING)
    assert float(sums["weight"]) == 2
    assert float(sums["correct"]) == (gains[:, 0] > gains[:, 1]).sum()
    found = [float(sums[name]) for name in ("chosen_gain", "rejected_gain")]
    assert found == pytest.approx(gains.sum(0).tolist(), rel=10 * tiny.ROUNDING)
    # a row weighs as much as it has preferences, as penalties of layers are weighed by it
    assert weights.sum(1).tolist() == pytest.approx([len(answers) / 2 for *_, answers in rows])


def test_against_itself_the_loss_is_ln_2():
    objective = dpo.make(dpo.Config(), LENGTH, VOCABULARY)
    given = examples([row(*TEXTS), row(TEXTS[0])], np.zeros((2, 4)))
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, LENGTH, VOCAB)), jnp.float32)

    @jax.jit
    def against_itself(logits, given):
        unasked = objective.prepare(jax.random.key(0), given._replace(reference=None))
        own = dpo.likelihoods(logits, unasked)
        return own, objective.loss(logits, unasked._replace(reference=own))

    own, sums = against_itself(logits, given)
    assert own.shape == (2, 4)
    assert own[1, 2:].tolist() == [0, 0]
    assert float(sums["nll"]) == pytest.approx(3 * np.log(2), rel=1e-6)
