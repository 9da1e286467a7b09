import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.objectives import denoising
from lm_lab.types import Examples, Vocabulary
from tests import tiny

SIZE, LENGTH, ROWS = 50, 120, 64
ENDS = np.arange(SIZE) % 10 == 9
VOCABULARY = Vocabulary(SIZE, SIZE - 1, np.ones(SIZE, np.uint8), ENDS)
MASK, START = SIZE, SIZE + 1
TOKENS = tiny.tokens(ROWS, LENGTH, vocab=SIZE)
SEGMENTS = jnp.where(
    jnp.arange(LENGTH) < 40, 1, jnp.where(jnp.arange(LENGTH) < 100, 2, 0)
) * jnp.ones((ROWS, 1), int)
STILL = {"noise_density": 0.0, "permute_sentences": False}


def drawn(seed=0, segments=None, **settings):
    objective = denoising.make(denoising.Config(**settings), LENGTH, VOCABULARY)
    return jax.jit(objective.prepare)(
        jax.random.key(seed), Examples(TOKENS, jnp.ones(TOKENS.shape), segments)
    )


def texts(batch):
    """(segment, its corrupted text, its original) of all rows."""
    inputs = batch.inputs
    for row in range(ROWS):
        segments = np.ones(LENGTH) if inputs.segments is None else np.asarray(inputs.segments[row])
        for segment in sorted(set(segments.tolist()) - {0}):
            own = np.asarray(inputs.context_segments[row]) == segment
            original = np.asarray(batch.targets[row])[segments == segment]
            yield segment, np.asarray(inputs.context[row])[own].tolist(), original.tolist()


def matches(pattern, text):
    """Whether masks can be replaced by texts, empty ones too, so that the text comes back."""
    reach = {0}
    for token in pattern:
        reach = (
            set(range(min(reach), len(text) + 1))
            if token == MASK
            else {i + 1 for i in reach if i < len(text) and text[i] == token}
        )
        if not reach:
            return False
    return len(text) in reach


def sentences(text):
    cut = [i + 1 for i in range(len(text) - 1) if ENDS[text[i]] and not ENDS[text[i + 1]]]
    return [tuple(part.tolist()) for part in np.split(np.asarray(text), cut)]


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_the_decoder_says_the_original_shifted(segments):
    batch = drawn(segments=segments)
    assert (batch.targets == TOKENS).all()
    assert (batch.weights == (1 if segments is None else segments > 0)).all()
    tokens = np.asarray(batch.inputs.tokens)
    for row in range(ROWS):
        expected = [START, *TOKENS[row, :-1].tolist()]
        if segments is not None:
            expected[40] = START
        real = LENGTH if segments is None else 100
        assert tokens[row, :real].tolist() == expected[:real]


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_text_comes_back_where_masks_are_filled(segments):
    batch = drawn(segments=segments, permute_sentences=False)
    assert batch.inputs.context is not None
    assert batch.inputs.context.shape == (ROWS, LENGTH)
    for _, corrupted, original in texts(batch):
        assert matches(corrupted, original)
        assert len(corrupted) <= len(original) or segments is not None
    padding = np.asarray(batch.inputs.context_segments) == 0
    assert (np.diff(padding.astype(int), axis=1) >= 0).all()


def test_the_density_is_exact_and_spans_are_poisson():
    noise, inserted = jax.jit(
        jax.vmap(lambda key: denoising.drawn_spans(denoising.Config(), key, LENGTH))
    )(jax.random.split(jax.random.key(5), 500))
    noise, inserted = np.asarray(noise), np.asarray(inserted)
    assert (noise.sum(1) == round(0.3 * LENGTH)).all()
    begins = noise & ~np.pad(noise, ((0, 0), (1, 0)))[:, :-1]
    spans, empty = begins.sum(), inserted.sum()
    # Lengths of all spans have mean 3; the last of a row, of about 13, is cut short.
    assert 2.7 < noise.sum() / (spans + empty) < 3.0
    share = np.exp(-3.0)
    assert abs(empty / (spans + empty) - share) < 5 * (share / (spans + empty)) ** 0.5 + 0.1 * share
    assert not (inserted[:, :-1] & noise).any()
    # Every place is hidden about as often as any other, but for the edges.
    assert np.abs(noise[:, 10:-10].mean(0) - 0.3).max() < 5 * (0.3 * 0.7 / 500) ** 0.5


def test_poisson_draws_have_the_probabilities_of_the_formula():
    draws = np.asarray(denoising._poisson(jax.random.key(0), 3.0, 20_000))
    share, probability = np.bincount(draws) / len(draws), np.exp(-3.0)
    for k in range(9):
        assert abs(share[k] - probability) < 5 * (probability / len(draws)) ** 0.5
        probability *= 3.0 / (k + 1)


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_sentences_change_places_and_nothing_else_does(segments):
    moved = total = 0
    for _, corrupted, original in texts(
        drawn(segments=segments, **STILL | {"permute_sentences": True})
    ):
        # Parts are compared as whole runs of tokens: a sentence that ends in another's end is told
        # by its letters.
        assert sorted(corrupted) == sorted(original)
        pieces, rest = sentences(original), list(corrupted)
        while rest:
            begin = next(
                piece
                for piece in sorted(pieces, key=len, reverse=True)
                if tuple(rest[: len(piece)]) == piece
            )
            pieces.remove(begin)
            rest = rest[len(begin) :]
        assert not pieces
        moved, total = moved + (corrupted != original), total + 1
    assert moved > 0.9 * total


@pytest.mark.parametrize("segments", [None, SEGMENTS])
def test_rotation_turns_each_text_by_any_number_of_tokens(segments):
    turns = []
    for _, corrupted, original in texts(drawn(segments=segments, **STILL | {"rotate": True})):
        by = [i for i in range(len(original)) if original[i:] + original[:i] == corrupted]
        assert by
        turns.append(by[0] / len(original))
    assert 0.35 < np.mean(turns) < 0.65
    assert len(set(turns)) > 0.3 * len(turns)


def test_nothing_asked_for_changes_nothing():
    assert (drawn(**STILL).inputs.context == TOKENS).all()


@pytest.mark.parametrize(
    "settings", [{"noise_density": 0.9, "mean_span": 1.0}, {"noise_density": 0.05}]
)
def test_extreme_densities_keep_the_laws(settings):
    for _, corrupted, original in texts(drawn(permute_sentences=False, **settings)):
        assert matches(corrupted, original)
