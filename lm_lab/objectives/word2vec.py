"""Skip-gram and CBOW (1301.3781) with negative sampling, dynamic windows and subsampling
(1310.4546).

Skip-gram: every pair of a word and a neighbour is an example, in which the neighbour is predicted.
CBOW: each word is predicted from the bag of its neighbours. Negative words are drawn in proportion
to their counts to the power 3/4. "nll" is the loss of telling the target from them, not a
likelihood of text; so no bytes are counted.

Counts of the whole text are not known here: they are estimated from the batch, or from the ids by
Zipf's law.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import MetricChoice, Objective
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, Sums, Vocabulary

ZIPF_OFFSET = 2.7  # of the Zipf-Mandelbrot law for English


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's settings; defaults are those of its program."""

    kind: Literal["skip_gram", "cbow"] = setting(
        "what is given: a word, or the bag of its neighbours", "skip_gram"
    )
    window: int = setting(
        "most words between a word and a neighbour, and 1; each word draws its own up to it",
        5,
        low=1,
    )
    negatives: int = setting("words drawn beside each that is looked for, K", 5, low=1)
    power: float = setting("of the counts by which they are drawn", 0.75, low=0.0, high=1.0)
    subsample: float | None = setting(
        "share of the text from which on a word is left out at times; None: all stay",
        1e-3,
        low=1e-9,
    )
    counts: Literal["batch", "ranks"] = setting(
        "how often words are: as in the batch, or 1 / (id + 2.7), for tokenizers whose ids "
        "begin with the frequent",
        "batch",
    )
    analogies: str | None = setting(
        "file of questions a b c d that the trained vectors are asked; None: none", None
    )
    similarities: str | None = setting(
        "file of lines a b score, by people, that they are held against", None
    )


def metrics(config: Config) -> tuple[MetricChoice, ...]:
    """The analogy metric, if a file of questions is given."""
    files = {"analogies": config.analogies, "similarities": config.similarities}
    return (MetricChoice("vectors", files),) if any(files.values()) else ()


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` tokens."""
    del length

    def prepare(key: Array, examples: Examples) -> Batch:
        return _prepare(config, vocabulary.size, key, examples)

    return ObjectiveFunctions(prepare, loss)


def loss(scores_BPC: Array, batch: Batch) -> Sums:
    """Sums over places of -log sigmoid(score) of the target, the first candidate, and of -score of
    the others.

    A drawn word that is the target itself is left out. "correct" counts places where the target has
    the highest score.
    """
    assert batch.inputs.context is not None
    other_BPK = batch.inputs.context[..., 1:] != batch.targets[..., None]
    positive_BP, negative_BPK = scores_BPC[..., 0], scores_BPC[..., 1:]
    nll_BP = jax.nn.softplus(-positive_BP) + (jax.nn.softplus(negative_BPK) * other_BPK).sum(-1)
    highest_BP = jnp.where(other_BPK, negative_BPK, -jnp.inf).max(-1)
    return {
        "nll": (nll_BP * batch.weights).sum(),
        "weight": batch.weights.sum(),
        "correct": ((positive_BP > highest_BP) * batch.weights).sum(),
    }


def frequencies(config: Config, vocabulary: int, examples: Examples) -> Array:
    """The share f32[V] of each word in the text, as `config.counts` estimates it."""
    if config.counts == "ranks":
        counts_V = 1 / (jnp.arange(vocabulary) + ZIPF_OFFSET)
    else:
        is_token = (
            jnp.ones(examples.tokens.shape)
            if examples.segments is None
            else 1.0 * (examples.segments > 0)
        )
        counts_V = jnp.zeros(vocabulary).at[examples.tokens].add(is_token)
    return counts_V / jnp.maximum(counts_V.sum(), 1e-9)


def _prepare(config: Config, vocabulary: int, key: Array, examples: Examples) -> Batch:
    keep_key, window_key, draw_key = jax.random.split(key, 3)
    share_V = frequencies(config, vocabulary, examples)
    tokens_BL, segments_BL = _subsampled(config, share_V, keep_key, examples)
    neighbours_BLG, is_neighbour_BLG = _neighbours(config, window_key, tokens_BL, segments_BL)
    if config.kind == "cbow":
        targets, weights = tokens_BL, is_neighbour_BLG.any(-1)
        input_words, segments = neighbours_BLG, is_neighbour_BLG
    else:
        rows = tokens_BL.shape[0]
        targets, weights = neighbours_BLG.reshape(rows, -1), is_neighbour_BLG.reshape(rows, -1)
        input_words, segments = jnp.repeat(tokens_BL, neighbours_BLG.shape[-1], axis=1), weights
    negatives = _draw(share_V**config.power, draw_key, (*targets.shape, config.negatives))
    candidates = jnp.concatenate([targets[..., None], negatives], axis=-1)
    inputs = Inputs(input_words, segments.astype(jnp.int32), context=candidates)
    return Batch(
        inputs, targets, weights.astype(jnp.float32), jnp.zeros(targets.shape, jnp.float32)
    )


def _subsampled(
    config: Config, share_V: Array, key: Array, examples: Examples
) -> tuple[Array, Array]:
    """(tokens, segments) i32[B L] without the words left out: the kept words close the gaps, and
    padding follows.

    A word is kept with probability sqrt(s / f) + s / f, as in the paper's program, f being its
    share of the text.
    """
    tokens = examples.tokens
    segments = jnp.ones_like(tokens) if examples.segments is None else examples.segments
    if config.subsample is None:
        return tokens, segments
    ratio = config.subsample / jnp.maximum(share_V, 1e-9)[tokens]
    stays = (jax.random.uniform(key, tokens.shape) < jnp.sqrt(ratio) + ratio) & (segments > 0)
    order = jnp.argsort(~stays, axis=1, stable=True)
    segments = jnp.where(stays, segments, 0)
    return jnp.take_along_axis(tokens, order, axis=1), jnp.take_along_axis(segments, order, axis=1)


def _neighbours(
    config: Config, key: Array, tokens_BL: Array, segments_BL: Array
) -> tuple[Array, Array]:
    """(words i32[B L G], whether each is a neighbour), G = 2 window places before and after; of the
    same segment.
    """
    length, window = tokens_BL.shape[1], config.window
    offsets_G = jnp.concatenate([jnp.arange(-window, 0), jnp.arange(1, window + 1)])
    places_LG = jnp.arange(length)[:, None] + offsets_G
    inside_LG = (places_LG >= 0) & (places_LG < length)
    reach_BL1 = jax.random.randint(key, (*tokens_BL.shape, 1), 1, window + 1)
    places_LG = places_LG.clip(0, length - 1)
    same_BLG = (segments_BL[:, places_LG] == segments_BL[..., None]) & (segments_BL[..., None] > 0)
    return tokens_BL[:, places_LG], inside_LG & same_BLG & (jnp.abs(offsets_G) <= reach_BL1)


def _draw(weights_V: Array, key: Array, shape: tuple[int, ...]) -> Array:
    """Ids i32[shape], each id drawn with probability proportional to its weight."""
    total_V = jnp.cumsum(weights_V)
    # Below 1 by more than the rounding of the sum, so that no id with weight 0 is drawn.
    chosen = jax.random.uniform(key, shape, maxval=1 - 1e-6) * total_V[-1]
    return (
        jnp.searchsorted(total_V, chosen, side="right")
        .astype(jnp.int32)
        .clip(0, len(weights_V) - 1)
    )


OBJECTIVE = Objective(
    Config,
    make,
    scope="unordered",
    metrics=metrics,
)
