"""Classification, regression and preferences: sums over texts, padding does not count, and labels
that cannot be learnt are refused.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.contracts import ModelInfo
from lm_lab.objectives import classification, regression, reward
from lm_lab.types import Examples, UserError, Vocabulary
from tests import tiny

VOCABULARY = Vocabulary(tiny.VOCAB, 5, np.zeros(tiny.VOCAB, np.uint8), np.zeros(tiny.VOCAB, bool))
SEGMENTS = jnp.asarray([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], jnp.int32)
LABELS = jnp.asarray([2.0, 0.0, 1.0, 0.0])


def batch_of(objective):
    given = Examples(tiny.tokens(4, 4), jnp.ones((4, 4)), SEGMENTS, labels=LABELS)
    return objective.prepare(jax.random.key(0), given)


def test_classes():
    objective = classification.make(classification.Config(3), 4, VOCABULARY)
    batch = batch_of(objective)
    logits = (
        jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 3)), jnp.float32)
        .at[2, 0, 1]
        .set(9.0)
    )
    found = objective.loss(logits, batch)
    logp = jax.nn.log_softmax(logits[:, 0])[jnp.arange(4), LABELS.astype(int)]
    assert found["nll"] == pytest.approx(-float(logp[:3].sum()), rel=tiny.ROUNDING)
    assert float(found["weight"]) == 3
    assert float(found["correct"]) == float((logits[:3, 0].argmax(-1) == LABELS[:3]).sum())
    assert "bytes" not in found


def test_values():
    objective = regression.make(regression.Config(), 4, VOCABULARY)
    found = objective.loss(jnp.asarray([1.0, 1.0, 1.0, 9.0])[:, None, None], batch_of(objective))
    assert float(found["squared_error"]) == 2.0
    assert float(found["nll"]) == 1.0
    assert float(found["weight"]) == 3.0


def test_packed_texts_have_the_sums_that_they_have_one_a_row():
    segments = jnp.asarray([[1, 1, 2, 3], [1, 1, 1, 0]], jnp.int32)
    labels = jnp.asarray([[2.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    given = Examples(tiny.tokens(2, 4), jnp.ones((2, 4)), segments, labels=labels)
    objective = classification.make(classification.Config(3), 4, VOCABULARY)
    batch = objective.prepare(jax.random.key(0), given)
    assert batch.weights.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.inputs.positions is not None
    assert batch.inputs.positions.tolist() == [[0, 1, 0, 0], [0, 1, 2, 0]]
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)), jnp.float32)
    found = objective.loss(logits, batch)
    alone = logits[jnp.asarray([0, 0, 0, 1]), jnp.asarray([0, 1, 2, 0])]
    classes = jnp.asarray([2, 0, 1, 1])
    expected = -jax.nn.log_softmax(alone)[jnp.arange(4), classes].sum()
    assert found["nll"] == pytest.approx(float(expected), rel=tiny.ROUNDING)
    assert float(found["weight"]) == 4
    assert float(found["correct"]) == float((alone.argmax(-1) == classes).sum())


def test_preferences_are_choices_by_bradley_and_terry():
    segments = jnp.asarray([[1, 1, 2, 2], [1, 2, 3, 4], [0, 0, 0, 0]], jnp.int32)
    labels = jnp.asarray([[1.0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    given = Examples(tiny.tokens(3, 4), jnp.ones((3, 4)), segments, labels=labels)
    objective = reward.make(reward.Config(), 4, VOCABULARY)
    batch = objective.prepare(jax.random.key(0), given)
    assert batch.inputs.pooled is not None
    assert batch.inputs.pooled.shape == (3, 4)
    scores = np.random.default_rng(0).normal(size=(3, 4, 1))
    found = objective.loss(jnp.asarray(scores, jnp.float32), batch)
    leads = np.array([scores[0, 0] - scores[0, 1], *(scores[1, ::2] - scores[1, 1::2])])
    expected = -np.log(1 / (1 + np.exp(-leads))).sum()
    assert found["nll"] == pytest.approx(expected, rel=10 * tiny.ROUNDING)
    assert float(found["weight"]) == 3
    assert float(found["correct"]) == (leads > 0).sum()


@pytest.mark.parametrize("label", [3.0, -1.0, 0.5])
def test_labels_that_are_no_classes(label):
    with pytest.raises(
        UserError, match=rf"config\.objective\.classes: 1 labels are none of 0 \.\. 2, as {label:g}"
    ):
        classification.check_labels(
            classification.Config(3), np.array([0.0, label, 2.0], np.float32)
        )


def test_the_pooling_follows_what_the_model_sees():
    for contract in (classification.OBJECTIVE, regression.OBJECTIVE):
        settings, scopes = contract.Config(), ("causal", "bidirectional")
        models = [ModelInfo(scope, needs_context=False) for scope in scopes]
        found = [contract.complete(settings, model).pooling for model in models]
        assert found == ["last", "mean"]
