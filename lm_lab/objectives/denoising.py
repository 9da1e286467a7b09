"""Denoising (BART, 1910.13461): a text is corrupted, and a decoder reconstructs all of it.

Text infilling: spans of Poisson-distributed length are each replaced by one mask, so that the model
has to find how much is missing; a span of length 0 inserts a mask. Spans do not touch each other.
Sentence permutation: the sentences of a row (or, where documents are isolated, of each document)
change places. Rotation: the text begins at any of its tokens. All are drawn anew at every step; the
corrupted text is never longer than the original, and padded to its length.

Bits per byte: those of the whole original given its corruption, by all its bytes. As most of it can
be copied this lies far below the likelihood of the text, and is not to be compared with one.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lm_lab.contracts import Objective
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import of_likelihood, shift_right
from lm_lab.objectives._corruption import compact, interleave, row_keys, within_segments
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, Vocabulary


@dataclass(frozen=True)
class Config:
    """The fields of a config's objective section."""

    noise_density: float = setting(
        "the part of the tokens that is hidden in spans", 0.3, low=0.0, high=0.9
    )
    mean_span: float = setting(
        "tokens that a mask stands for, on average: lambda", 3.0, low=1.0, high=30.0
    )
    permute_sentences: bool = setting("whether sentences change places", True)
    rotate: bool = setting("whether a text begins at any of its tokens", False)


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` tokens."""
    del length
    return of_likelihood(partial(prepare, config, vocabulary))


def special_ids(config: Config, length: int, vocabulary: Vocabulary) -> int:
    """Ids beyond the vocabulary: the mask, where the tokenizer has none, and the decoder's start,
    where the model has none.
    """
    del config, length
    return int(vocabulary.mask is None) + int(vocabulary.start is None)


def prepare(config: Config, vocabulary: Vocabulary, key: Array, examples: Examples) -> Batch:
    """Context is the corrupted text, padded to [B L]; targets are the original [B L]. Pure in the
    key.
    """
    tokens, segments = examples.tokens, examples.segments
    segments_BL = jnp.ones_like(tokens) if segments is None else segments
    corrupt = partial(_corrupt, config, vocabulary)
    context, context_segments = jax.vmap(corrupt)(row_keys(key, len(tokens)), tokens, segments_BL)
    added_start = vocabulary.size + int(vocabulary.mask is None)
    decoder_inputs = shift_right(
        tokens, segments, added_start if vocabulary.start is None else vocabulary.start
    )
    positions = None if segments is None else places_within(segments)
    inputs = Inputs(decoder_inputs, segments, positions, context, context_segments)
    return Batch(inputs, tokens, (segments_BL > 0).astype(jnp.float32), examples.bytes)


def _corrupt(
    config: Config, vocabulary: Vocabulary, key: Array, tokens_L: Array, segments_L: Array
) -> tuple[Array, Array]:
    """(corrupted text, its segments) of a row."""
    sentences, turn, fill = jax.random.split(key, 3)
    if config.permute_sentences:
        ends_L = jnp.asarray(vocabulary.sentence_ends)[tokens_L]
        tokens_L = tokens_L[permuted(sentences, ends_L, segments_L)]
    if config.rotate:
        tokens_L = tokens_L[rotated(turn, segments_L)]
    return infilled(config, fill, tokens_L, segments_L, vocabulary.hides)


def permuted(key: Array, ends_L: Array, segments_L: Array) -> Array:
    """i32[L]: the order of tokens with sentences shuffled in their segment. Of several sentence
    ends in a row the last counts.
    """
    begins_L = jnp.concatenate([jnp.ones(1, bool), ends_L[:-1] & ~ends_L[1:]]) | _changes(
        segments_L
    )
    draw_L = jax.random.uniform(key, ends_L.shape)[jnp.cumsum(begins_L) - 1]
    return jnp.lexsort((jnp.arange(len(ends_L)), draw_L, jnp.cumsum(_changes(segments_L))))


def rotated(key: Array, segments_L: Array) -> Array:
    """i32[L]: the order of tokens with each segment beginning at any of its tokens, and its
    beginning at its end.
    """
    index_L, run_L = jnp.arange(len(segments_L)), jnp.cumsum(_changes(segments_L)) - 1
    size_L = jnp.zeros_like(run_L).at[run_L].add(1)[run_L]
    place_L = index_L - lax.cummax(jnp.where(_changes(segments_L), index_L, 0))
    by_L = jnp.floor(jax.random.uniform(key, segments_L.shape)[run_L] * size_L).astype(jnp.int32)
    return jnp.lexsort(((place_L - by_L) % size_L, run_L))


def _changes(segments_L: Array) -> Array:
    return jnp.concatenate([jnp.ones(1, bool), segments_L[1:] != segments_L[:-1]])


def infilled(
    config: Config, key: Array, tokens_L: Array, segments_L: Array, mask: int
) -> tuple[Array, Array]:
    """(text with spans replaced by masks, its segments), padded on the right to [L]."""
    noise_L, inserted_S = drawn_spans(config, key, len(tokens_L))
    noise_L, begins_L = within_segments(noise_L, segments_L)
    slots_S = jnp.append(
        segments_L, segments_L[-1]
    )  # a slot before every token, and one after the last
    inserted_S &= slots_S > 0
    # An inserted mask needs the place of a token that was removed.
    inserted_S &= jnp.cumsum(inserted_S) <= noise_L.sum() - begins_L.sum()
    shown_L = jnp.append(jnp.where(begins_L, mask, tokens_L), 0)
    kept_S = jnp.append((~noise_L | begins_L) & (segments_L > 0), False)
    return compact(  # type: ignore[return-value]
        interleave(inserted_S, kept_S),
        len(tokens_L),
        interleave(jnp.full_like(shown_L, mask), shown_L),
        interleave(slots_S, slots_S),
    )


def drawn_spans(config: Config, key: Array, length: int) -> tuple[Array, Array]:
    """(bool[L] hidden, bool[L + 1] whether a mask is inserted before each token or at the end).

    Lengths are drawn until the density is reached, and the last is cut to it. Spans are placed in
    different gaps between kept tokens.
    """
    sizes_key, gaps_key = jax.random.split(key)
    hidden = round(length * config.noise_density)
    max_spans = min(2 * int(np.ceil(hidden / config.mean_span)) + 4, length - hidden + 1)
    length_K = _poisson(sizes_key, config.mean_span, max_spans)
    before_K = jnp.cumsum(length_K) - length_K
    drawn_K = before_K < hidden
    length_K = jnp.where(drawn_K, jnp.minimum(length_K, hidden - before_K), 0)
    gaps = length - length_K.sum() + 1
    index_S = jnp.arange(length + 1)
    gap_K = jnp.argsort(
        jnp.where(index_S < gaps, jax.random.uniform(gaps_key, index_S.shape), 2.0)
    )[:max_spans]
    gap_K = jnp.where(drawn_K, gap_K, length + 1)  # beyond the text: dropped by the scatter
    order_K = jnp.argsort(gap_K)
    gap_K, length_K = gap_K[order_K], length_K[order_K]
    start_K = gap_K + jnp.cumsum(length_K) - length_K
    edges_S = jnp.zeros(length + 1, jnp.int32).at[start_K].add(1, mode="drop")
    edges_S = edges_S.at[jnp.where(gap_K > length, length + 1, start_K + length_K)].add(
        -1, mode="drop"
    )
    inserted_S = (
        jnp.zeros(length + 1, bool)
        .at[jnp.where(length_K == 0, start_K, length + 1)]
        .set(True, mode="drop")
    )
    return jnp.cumsum(edges_S)[:-1] > 0, inserted_S


def _poisson(key: Array, mean: float, count: int) -> Array:
    """i32[count] draws by the inverse of the distribution function, without the loop of rejection
    sampling.
    """
    k = np.arange(int(mean + 10 * mean**0.5) + 10)
    logarithms = k * np.log(mean) - mean - np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    below_k = jnp.asarray(np.cumsum(np.exp(logarithms)), jnp.float32)
    return (jax.random.uniform(key, (count, 1)) >= below_k).sum(-1).clip(max=len(k) - 1)


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    needs_context=True,
    special_ids=special_ids,
)
