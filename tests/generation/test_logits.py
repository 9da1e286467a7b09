import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.generation.logits import Config, choose, filtered, penalise
from lm_lab.types import UserError

LOGITS = jnp.log(jnp.array([[0.4, 0.05, 0.3, 0.05, 0.2], [0.1, 0.2, 0.2, 0.4, 0.1]]))


def allowed(**settings):
    return np.isfinite(filtered(LOGITS, Config(**settings))).tolist()


def test_filters_keep_the_likeliest():
    assert allowed(top_k=2)[0] == [True, False, True, False, False]
    # .4 + .3 leaves room for the token that crosses .75, and no more.
    assert allowed(top_p=0.75)[0] == [True, False, True, False, True]
    assert allowed(top_p=0.69)[0] == [True, False, True, False, False]
    assert allowed(min_p=0.45)[0] == [True, False, True, False, True]
    assert allowed(top_p=1e-6) == allowed(top_k=1) == allowed(min_p=1.0)
    assert all(map(all, allowed(top_k=5, top_p=1.0)))


def test_temperature_divides_the_logits():
    assert jnp.allclose(filtered(LOGITS, Config(temperature=0.5)), 2 * LOGITS)


def test_temperature_0_takes_the_likeliest():
    chosen = choose(jax.random.split(jax.random.key(0), 2), LOGITS, Config(temperature=0.0))
    assert chosen.tolist() == [0, 3]


def test_draws_have_the_probabilities_that_the_filters_leave():
    keys = jax.random.split(jax.random.key(0), 20_000)
    rows = jnp.broadcast_to(LOGITS[0], (20_000, 5))
    drawn = jax.jit(lambda keys, rows: choose(keys, rows, Config(top_k=3)))(keys, rows)
    shares = np.bincount(drawn, minlength=5) / 20_000
    # Binomial: the standard error is at most .0035, and these are four of them.
    assert np.abs(shares - np.array([0.4, 0, 0.3, 0, 0.2]) / 0.9).max() < 0.014


def test_the_penalty_makes_what_was_seen_less_likely_on_either_side_of_0():
    logits, seen = jnp.array([[2.0, -2.0, 2.0, -2.0]]), jnp.array([[True, True, False, False]])
    assert penalise(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_a_beam_search_does_not_draw():
    with pytest.raises(UserError, match="a beam search does not draw"):
        Config(beams=2, top_k=3)
