import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_lab.objectives import causal
from lm_lab.objectives._common import likelihood
from lm_lab.types import Examples
from tests import tiny
from tests.tiny import ROUNDING, VOCAB, distance

KEY = jax.random.key(0)


def drawn_batch(weights=None):
    batch = causal.prepare(KEY, tiny.examples(rows=3))
    return batch if weights is None else batch._replace(weights=jnp.float32(weights))


def drawn_logits(scale=3.0):
    return scale * tiny.normal(3, tiny.LENGTH, VOCAB)


def test_targets_are_the_inputs_one_step_on_and_each_brings_its_own_bytes():
    tokens = jnp.arange(10).reshape(2, 5)
    batch = causal.prepare(KEY, Examples(tokens, 0.5 * tokens.astype(jnp.float32)))
    assert (batch.inputs.tokens == tokens[:, :-1]).all()
    assert (batch.targets == tokens[:, 1:]).all()
    assert (batch.bytes == 0.5 * tokens[:, 1:]).all()
    assert (batch.weights == 1).all()
    assert batch.inputs.segments is None


def test_segments_cut_targets_and_positions():
    segments = jnp.array([[1, 1, 1, 2, 2, 0, 0], [3, 4, 4, 4, 4, 4, 5], [0, 0, 0, 0, 0, 0, 0]])
    batch = causal.prepare(KEY, Examples(jnp.zeros((3, 7), jnp.int32), jnp.ones((3, 7)), segments))
    assert batch.weights.tolist() == [[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 0], [0] * 6]
    positions = batch.inputs.positions
    assert positions is not None
    assert positions.tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]


def test_a_window_makes_every_token_a_target_once():
    tokens, stride = causal.window(causal.Config(), 16)
    assert (tokens, stride) == (17, 16)


def test_loss_and_its_gradient_are_optaxs_summed():
    weights = np.random.default_rng(0).integers(0, 2, (3, tiny.LENGTH))
    batch = drawn_batch(weights)

    def theirs(logits):
        nll = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        return (nll * batch.weights).sum()

    ours = jax.value_and_grad(lambda logits: likelihood(logits, batch)["nll"])(drawn_logits())
    assert distance(ours, jax.value_and_grad(theirs)(drawn_logits())) < ROUNDING


def test_sums_count_what_has_weight():
    weights = np.zeros((3, tiny.LENGTH))
    weights[1, :4] = 1
    batch = drawn_batch(weights)._replace(bytes=jnp.full((3, tiny.LENGTH), 2.5))
    sums = likelihood(drawn_logits(), batch)
    assert float(sums["weight"]) == 4
    assert float(sums["bytes"]) == 10


def test_logits_that_say_nothing_cost_the_logarithm_of_the_vocabulary():
    sums = likelihood(jnp.zeros((3, tiny.LENGTH, VOCAB)), drawn_batch())
    assert float(sums["nll"]) == pytest.approx(3 * tiny.LENGTH * np.log(VOCAB), rel=1e-6)


def test_large_logits_do_not_overflow():
    sums = likelihood(1e30 * jnp.ones((3, tiny.LENGTH, VOCAB)), drawn_batch())
    assert np.isfinite(float(sums["nll"]))


def test_65536_losses_add_up():
    shape = (64, 1024)
    logits = jnp.zeros((*shape, 2))  # log 2 each
    batch = drawn_batch()._replace(
        targets=jnp.zeros(shape, jnp.int32), weights=jnp.ones(shape), bytes=jnp.ones(shape)
    )
    sums = jax.jit(likelihood)(logits, batch)
    assert sums["nll"].dtype == jnp.float32
    assert float(sums["nll"]) == pytest.approx(65_536 * np.log(2), rel=ROUNDING)
    assert float(sums["weight"]) == float(sums["bytes"]) == 65_536


def test_logits_in_bfloat16_are_summed_in_float32():
    rounded = drawn_logits().astype(jnp.bfloat16)
    sums = likelihood(rounded, drawn_batch(), smoothing=0.1)
    wanted = likelihood(rounded.astype(jnp.float32), drawn_batch(), smoothing=0.1)
    assert distance((sums["nll"], sums["penalty"]), (wanted["nll"], wanted["penalty"])) < ROUNDING
