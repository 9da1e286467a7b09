import jax
import jax.numpy as jnp
import numpy as np

from lm_lab.objectives import causal, prefix
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.types import Inputs, Vocabulary
from tests import tiny

ROWS, LENGTH = 400, 8
EXAMPLES = tiny.examples(ROWS, LENGTH)


def cuts(batch):
    """How many inputs of each row are prefix."""
    seen = np.asarray(batch.inputs.prefix)
    assert (seen == (np.arange(LENGTH) < seen.sum(1, keepdims=True))).all()
    return seen.sum(1)


def test_the_rest_and_nothing_but_the_rest_is_a_target():
    batch = prefix.prepare(jax.random.key(0), EXAMPLES)
    usual = causal.prepare(jax.random.key(0), EXAMPLES)
    assert (batch.targets == usual.targets).all()
    assert (batch.inputs.tokens == usual.inputs.tokens).all()
    # Input i predicts token i + 1, which is of the rest where i + 1 is the cut or beyond.
    assert (np.asarray(batch.weights) == (np.arange(1, LENGTH + 1) >= cuts(batch)[:, None])).all()


def test_cuts_are_drawn_evenly():
    counts = np.bincount(cuts(prefix.prepare(jax.random.key(1), EXAMPLES)), minlength=LENGTH + 1)
    assert counts[0] == 0
    expected = ROWS / LENGTH
    assert (np.abs(counts[1:] - expected) < 5 * expected**0.5).all()


def test_no_target_is_seen_by_what_predicts_it():
    model = tiny.model()
    batch = prefix.prepare(jax.random.key(2), tiny.examples(4))
    params = tiny.params_of(model, batch.inputs)
    assert batch.inputs.prefix is not None
    losses = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    for row in range(4):
        cut = int(batch.inputs.prefix[row].sum())
        # All of the rest is another: the prediction of its first token stays.
        places = jnp.arange(tiny.LENGTH) >= cut
        other = jnp.where(places, (batch.inputs.tokens + 1) % tiny.VOCAB, batch.inputs.tokens)
        changed = losses(Inputs(other, prefix=batch.inputs.prefix))
        assert tiny.same_bits(changed[row, :cut], losses(batch.inputs)[row, :cut])
        if cut > 2:  # and what stands in the prefix is seen by all of it
            within = batch.inputs.tokens.at[row, cut - 1].add(1) % tiny.VOCAB
            assert (
                tiny.distance(
                    losses(Inputs(within, prefix=batch.inputs.prefix))[row, 0], changed[row, 0]
                )
                > 1e-4
            )


def test_a_run_learns_it(tmp_path):
    changes = {f"train.{name}_every_steps": 60 for name in ("eval", "checkpoint")}
    changes |= {"objective.name": "prefix", "train.steps": 60, "train.steps_per_call": 20}
    result = loop.train([Run(*tiny.resolve(changes), tmp_path)])[0]
    assert result["final"]["eval/heldout/nll"] < 0.5 * np.log(257)


def test_a_prompt_that_is_gone_on_from_is_all_prefix():
    """(so that what is written is what the likelihoods of tasks find likeliest)"""
    rows = EXAMPLES._replace(
        context=EXAMPLES.tokens, context_segments=jnp.arange(LENGTH + 1) < jnp.array([[5]] * ROWS)
    )
    words = np.zeros(tiny.VOCAB, np.uint8)
    vocabulary = Vocabulary(tiny.VOCAB, 0, words, words > 0)
    inputs = prefix.OBJECTIVE.prompt(causal.Config(), vocabulary, rows)
    assert (inputs.prefix == (inputs.segments > 0)).all()
    assert inputs.prefix.sum() == 5 * ROWS
