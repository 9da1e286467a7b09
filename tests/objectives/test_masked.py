import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.data.tokenizers import byte
from lm_lab.objectives import masked
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.types import Examples, UserError, Vocabulary
from tests import tiny

SIZE, END, MASK = 40, 7, 40
WORDS = np.zeros(SIZE, np.uint8)
WORDS[10:30], WORDS[30:] = 1, 2  # the rest of a word; its beginning; below 10 stands alone
VOCABULARY = Vocabulary(SIZE, END, WORDS, np.zeros(SIZE, bool))
ROWS, LENGTH = 200, 100
TOKENS = tiny.tokens(ROWS, LENGTH, vocab=SIZE)
SEGMENTS = jnp.where(
    jnp.arange(LENGTH) < 50, 1, jnp.where(jnp.arange(LENGTH) < 90, 2, 0)
) * jnp.ones((ROWS, 1), int)


def drawn(seed=0, segments=None, **settings):
    objective = masked.make(masked.Config(**settings), LENGTH, VOCABULARY)
    return objective.prepare(
        jax.random.key(seed), Examples(TOKENS, jnp.full(TOKENS.shape, 1.5), segments)
    )


def within(count, draws, rate):
    """Whether `count` successes of so many draws lie within 5 standard deviations: 1 in 1.7 million
    would not.
    """
    return abs(count - draws * rate) < 5 * (draws * rate * (1 - rate)) ** 0.5


def test_rates_are_those_asked_for():
    batch = drawn()
    chosen, text = np.asarray(batch.weights) > 0, np.asarray(TOKENS) != END
    shown, tokens = np.asarray(batch.inputs.tokens), np.asarray(TOKENS)
    assert within(chosen.sum(), text.sum(), 0.15)
    assert within((shown == MASK).sum(), chosen.sum(), 0.8)
    others = chosen & (shown != MASK) & (shown != tokens)
    # One random token in SIZE - 1 is the one that stood there.
    assert within(others.sum(), chosen.sum(), 0.1 * (1 - 1 / (SIZE - 1)))
    assert (shown == tokens)[~chosen].all()
    assert (batch.targets == TOKENS).all()
    assert (batch.bytes == 1.5).all()


def test_end_of_document_and_padding_are_never_chosen_and_nothing_becomes_one():
    batch = drawn(segments=SEGMENTS, rate=1.0, mask_share=0.0, random_share=1.0)
    chosen, ends = np.asarray(batch.weights) > 0, np.asarray(TOKENS) == END
    assert (chosen == ~ends & (np.asarray(SEGMENTS) > 0)).all()
    assert ((np.asarray(batch.inputs.tokens) == END) <= ends).all()
    assert set(np.unique(np.asarray(batch.inputs.tokens)[chosen])) == set(range(SIZE)) - {END}
    assert batch.inputs.positions is not None
    assert batch.inputs.positions[0].tolist() == [*range(50), *range(40), *range(10)]


def words_of(row, segments):
    """Lists of places, by a loop."""
    groups, kinds = [], WORDS[row]
    for place, kind in enumerate(kinds):
        goes_on = (
            place > 0
            and kind == 1
            and kinds[place - 1] > 0
            and segments[place] == segments[place - 1]
        )
        groups = [*groups[:-1], [*groups[-1], place]] if goes_on else [*groups, [place]]
    return groups


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_whole_words_are_chosen_whole_and_at_the_same_rate(segments):
    batch = drawn(segments=segments, whole_words=True)
    chosen, seen = (
        np.asarray(batch.weights) > 0,
        np.asarray(jnp.ones_like(SEGMENTS) if segments is None else segments),
    )
    words = chosen_words = 0
    for row in range(ROWS):
        for places in words_of(np.asarray(TOKENS[row]), seen[row]):
            if seen[row, places[0]] and TOKENS[row, places[0]] != END:
                assert len(set(chosen[row, places])) == 1
                words, chosen_words = words + 1, chosen_words + chosen[row, places[0]]
    assert within(chosen_words, words, 0.15)


def test_every_key_chooses_anew():
    one, other = (np.asarray(drawn(seed).weights) for seed in (0, 1))
    both = (one * other).sum()
    assert within(both, (np.asarray(TOKENS) != END).sum(), 0.15**2)


def test_words_of_bytes():
    tokenizer = byte.make(byte.Config())
    tokens = jnp.asarray(tokenizer.encode("if x_1 == élan:")[None].astype(np.int32))
    vocabulary = Vocabulary(
        tokenizer.vocab, tokenizer.end_of_document, tokenizer.words, tokenizer.sentence_ends
    )
    begins = masked.words(tokens, None, vocabulary)[0].tolist()
    assert begins == [0, 0, 2, 3, 3, 3, 6, 7, 8, 9, *[10] * 5, 15]


def test_shares_above_one_are_refused():
    with pytest.raises(
        UserError, match=r"mask_share 0\.8 and random_share 0\.3 are together above 1"
    ):
        masked.Config(random_share=0.3)


MASKED = {"model.family": "encoder", "objective.name": "masked"}


def test_a_model_that_sees_the_past_alone_is_refused():
    with pytest.raises(UserError, match="is for models that see the whole text"):
        tiny.resolve({"objective.name": "masked"})
    with pytest.raises(UserError, match="is for models that see only the past"):
        tiny.resolve({"model.family": "encoder"})


def test_a_run_learns_it(tmp_path):
    changes = {f"train.{name}_every_steps": 60 for name in ("eval", "checkpoint")}
    changes |= {"train.steps": 60, "train.steps_per_call": 20, "optimizer.peak_rate": 3e-3}
    experiment, resolved = tiny.resolve(MASKED | changes | {"objective.whole_words": False})
    assert experiment.model.settings.vocab == byte.make(byte.Config()).vocab + 1
    result = loop.train([Run(experiment, resolved, tmp_path)])[0]
    # A chain of 4 symbols: blind guessing among them costs log 4, and the log of the vocabulary
    # before that is learnt.
    assert result["final"]["eval/heldout/nll"] < 0.5 * np.log(experiment.model.settings.vocab)
