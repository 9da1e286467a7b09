import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import generation
from lm_lab.generation.logits import Config
from lm_lab.generation.sampling import generate, stream
from lm_lab.models import decoder
from lm_lab.types import Inputs, UserError
from tests import tiny

ROWS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]
GREEDY = Config(new_tokens=7, temperature=0.0)
MODEL = tiny.model()
VARIABLES = {"params": tiny.params_of(MODEL, Inputs(tiny.tokens()))}


def greedy(row, count):
    """One token after another, by the whole forward pass."""
    row, forward = list(row), jax.jit(lambda tokens: MODEL.apply(VARIABLES, Inputs(tokens)))
    for _ in range(count):
        padded = jnp.asarray([row + [0] * (tiny.LENGTH - len(row))])
        row.append(int(forward(padded)[0, len(row) - 1].argmax()))
    return row[-count:]


@pytest.mark.gpu
def test_greedy_text_is_that_of_the_full_forward_pass():
    tokens, lengths = generate(MODEL, VARIABLES, generation.prompts(ROWS), GREEDY)
    assert tokens.tolist() == [greedy(row, 7) for row in ROWS]
    assert lengths.tolist() == [7, 7, 7]


def test_a_stream_is_the_same_text():
    config = Config(new_tokens=7, seed=3)
    at_once, _ = generate(MODEL, VARIABLES, generation.prompts(ROWS), config)
    parts = list(stream(MODEL, VARIABLES, generation.prompts(ROWS), config, every=2))
    assert [part.shape[1] for part in parts] == [2, 2, 2, 1]
    assert (np.concatenate(parts, 1) == at_once).all()


def test_seeds_decide():
    def drawn(seed):
        return generate(
            MODEL, VARIABLES, generation.prompts(ROWS), Config(new_tokens=7, seed=seed)
        )[0].tolist()

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_a_stop_token_ends_its_row_alone():
    whole, _ = generate(MODEL, VARIABLES, generation.prompts(ROWS), GREEDY)
    stop = int(whole[0, 3])
    tokens, lengths = generate(MODEL, VARIABLES, generation.prompts(ROWS), GREEDY, stops=[stop])
    for row, length, undisturbed in zip(tokens, lengths, whole):
        places = np.flatnonzero(undisturbed == stop)
        assert length == (places[0] if len(places) else 7)
        assert (row[:length] == undisturbed[:length]).all()
        assert (row[length:] == stop).all()


def test_a_prompt_has_tokens():
    with pytest.raises(UserError, match="a prompt has no tokens"):
        generation.prompts([[1], []])


def test_learned_positions_run_out():
    model = tiny.model(positions="learned")
    with pytest.raises(
        UserError,
        match=f"prompt and new tokens are 17, and the model has positions for {tiny.LENGTH}",
    ):
        generate(
            model,
            VARIABLES,
            generation.prompts(ROWS),
            Config(new_tokens=12),
            max_length=decoder.FAMILY.max_length(model.cfg),
        )


def test_a_model_without_a_memory_is_refused():
    model = tiny.model("word2vec")
    variables = {"params": tiny.params_of(model, Inputs(tiny.tokens()))}
    with pytest.raises(UserError, match=r"^lm_lab.models.word2vec keeps nothing of earlier tokens"):
        generate(model, variables, generation.prompts(ROWS), GREEDY)
