import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute.flops import count
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import ROUNDING, VOCAB, WIDTH, distance

MODEL = tiny.model("word2vec")
BAGS = tiny.tokens(6, 4).reshape(2, 3, 4)
THERE = jnp.asarray([[[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]] * 2)
CANDIDATES = tiny.tokens(6, 5, seed=1).reshape(2, 3, 5)


def test_scores_are_products_of_the_means_of_bags_with_the_candidates():
    params = tiny.params_of(MODEL, Inputs(tiny.tokens()))
    scores = MODEL.apply({"params": params}, Inputs(BAGS, THERE, context=CANDIDATES))
    given, looked_for = (
        np.asarray(params[name]["embedding"], np.float64) for name in ("embed", "head")
    )
    expected = np.zeros((2, 3, 5))
    for row, place, candidate in np.ndindex(2, 3, 5):
        words = [word for word, there in zip(BAGS[row, place], THERE[row, place]) if there]
        mean = sum(given[word] for word in words) / max(len(words), 1)
        expected[row, place, candidate] = np.sum(
            mean * looked_for[CANDIDATES[row, place, candidate]]
        )
    assert distance(scores, expected) < ROUNDING
    assert (np.asarray(scores)[:, 1] == 0).all()  # an empty bag


def test_candidates_have_the_scores_that_they_have_among_all_words():
    params = tiny.params_of(MODEL, Inputs(tiny.tokens()))
    tokens = tiny.tokens(2, 3)
    whole = MODEL.apply({"params": params}, Inputs(tokens))
    scores = MODEL.apply({"params": params}, Inputs(tokens, context=CANDIDATES))
    assert whole.shape == (2, 3, VOCAB)
    assert distance(scores, jnp.take_along_axis(whole, CANDIDATES, -1)) < ROUNDING


def test_a_place_costs_three_products_with_its_candidates():
    params = tiny.params_of(MODEL, Inputs(tiny.tokens()))
    inputs = Inputs(tiny.tokens(2, 3), context=CANDIDATES)
    step = jax.value_and_grad(lambda params: MODEL.apply({"params": params}, inputs).sum())
    assert count(step, params).total == 6 * CANDIDATES.size * WIDTH


RUN = {
    "model": {"family": "word2vec", "width": WIDTH},
    "objective": {"name": "word2vec", "window": 2},
}


@pytest.mark.parametrize("kind", ["skip_gram", "cbow"])
def test_vectors_are_trained_from_a_config_in_the_shared_loop(tmp_path, kind):
    calls = {
        f"train.{name}": 20
        for name in ("steps_per_call", "log_every_steps", "checkpoint_every_steps")
    }
    settings = {
        "objective.kind": kind,
        "objective.subsample": None,
        "train.steps": 40,
        "train.eval_every_steps": None,
    }
    experiment, resolved = tiny.resolve(RUN | settings | calls)
    (result,) = loop.train([Run(experiment, resolved, tmp_path)])
    final = result["final"]
    assert result["status"] == "complete"
    assert "eval/heldout/bits_per_byte" not in final
    # At first each of six candidates is as likely as not: 6 log 2.
    assert final["eval/heldout/nll"] < 0.9 * 6 * np.log(2)


@pytest.mark.parametrize("section", ["model", "objective"])
def test_words_without_order_are_not_learnt_as_text(section):
    with pytest.raises(UserError, match=r"sees? words without order"):
        tiny.resolve({section: RUN[section]})
