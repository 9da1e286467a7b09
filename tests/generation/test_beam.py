import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import generation
from lm_lab.generation.beam import beam_search
from lm_lab.generation.logits import Config
from lm_lab.generation.sampling import generate
from lm_lab.types import Inputs
from tests import tiny

VOCAB, NEW, STOP = 4, 3, 2
ROWS = [[3, 1, 0], [1], [0, 3]]
MODEL = tiny.model(vocab=VOCAB)
DRAWN = tiny.params_of(MODEL, Inputs(tiny.tokens(vocab=VOCAB)))
VARIABLES = {"params": jax.tree.map(lambda x: jnp.asarray(3 * np.asarray(x)), DRAWN)}


def every_text(row):
    """(text up to and with its stop token, log likelihood) of all texts of NEW tokens."""
    texts = np.array(list(itertools.product(range(VOCAB), repeat=NEW)))
    whole = np.concatenate([np.tile(row, (len(texts), 1)), texts], 1)
    logp = np.asarray(
        jax.nn.log_softmax(MODEL.apply(VARIABLES, Inputs(jnp.asarray(whole)))), np.float64
    )
    found = {}
    for text, own in zip(texts.tolist(), logp):
        length = text.index(STOP) + 1 if STOP in text else NEW
        steps = [own[len(row) - 1 + i, token] for i, token in enumerate(text[:length])]
        found[tuple(text[:length])] = sum(steps)
    return found


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_a_beam_that_holds_everything_finds_the_best_of_all_texts(penalty):
    config = Config(new_tokens=NEW, beams=VOCAB**NEW, length_penalty=penalty)
    tokens, lengths, scores = beam_search(
        MODEL, VARIABLES, generation.prompts(ROWS), config, stops=[STOP]
    )
    for row, prompt in enumerate(ROWS):
        ranked = sorted(
            ((logp / len(text) ** penalty, text) for text, logp in every_text(prompt).items()),
            reverse=True,
        )
        for place, (score, text) in enumerate(ranked[:5]):
            kept = [token for token in text if token != STOP]
            assert tokens[row, place, : lengths[row, place]].tolist() == kept
            assert scores[row, place] == pytest.approx(
                score, rel=1e-4
            )  # sums of three float32 logarithms


def test_one_beam_is_greedy():
    config = Config(new_tokens=8, beams=1, length_penalty=0.0)
    tokens, _, _ = beam_search(MODEL, VARIABLES, generation.prompts(ROWS), config)
    wanted, _ = generate(
        MODEL, VARIABLES, generation.prompts(ROWS), Config(new_tokens=8, temperature=0.0)
    )
    assert (tokens[:, 0] == wanted).all()


def test_rows_do_not_mix():
    config = Config(new_tokens=6, beams=3)
    together = beam_search(MODEL, VARIABLES, generation.prompts(ROWS), config, stops=[STOP])
    for row, prompt in enumerate(ROWS):
        alone = beam_search(MODEL, VARIABLES, generation.prompts([prompt]), config, stops=[STOP])
        assert (together[0][row] == alone[0][0]).all()
        assert np.allclose(together[2][row], alone[2][0], rtol=1e-4)
