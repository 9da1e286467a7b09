"""Span corruption (T5, 1910.10683): a sentinel replaces each hidden span, and a decoder predicts
the hidden text.

    text     a b c d e f g h     context  a <0> d e <1> h     targets  <0> b c <1> f g <2>

The number of hidden tokens and of spans is that of the window's length, so that shapes are static;
the places of the spans are drawn at every step, uniformly among all arrangements. A window begins
with text. Where rows hold several segments, a span ends with its segment, a decoder's segment
begins with the start id, and padding is never hidden.

Bits per byte: those of the targets, with the sentinels that say where a span ends, by the bytes of
the hidden text. It measures restoring the hidden text given the rest on both sides, and is not a
likelihood of the text.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Objective
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import of_likelihood, shift_right
from lm_lab.objectives._corruption import compact, interleave, row_keys, within_segments
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, UserError, Vocabulary


@dataclass(frozen=True)
class Config:
    """The fields of a config's objective section."""

    noise_density: float = setting(
        "the part of the tokens that is hidden", 0.15, low=0.001, high=0.999
    )
    mean_span: float = setting("hidden tokens in a span, on average", 3.0, low=1.0)


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` tokens. Raises UserError where they leave no room for
    the targets.
    """
    size = sizes(config, length)
    return of_likelihood(partial(prepare, config, size, *_special(vocabulary, size[1] + 1)))


def special_ids(config: Config, length: int, vocabulary: Vocabulary) -> int:
    """Ids beyond the vocabulary: sentinels for each span and the end that the tokenizer lacks, then
    the decoder's start if the model has none.
    """
    sentinels, start = _special(vocabulary, sizes(config, length)[1] + 1)
    return sum(number >= vocabulary.size for number in (*sentinels, start))


def _special(vocabulary: Vocabulary, count: int) -> tuple[tuple[int, ...], int]:
    """(`count` sentinels, the id of the decoder's start)."""
    lacks_sentinels = len(vocabulary.sentinels) < count
    sentinels = (
        tuple(range(vocabulary.size, vocabulary.size + count))
        if lacks_sentinels
        else vocabulary.sentinels[:count]
    )
    next_id = vocabulary.size + (count if lacks_sentinels else 0)
    return sentinels, next_id if vocabulary.start is None else vocabulary.start


def sizes(config: Config, length: int) -> tuple[int, int]:
    """(hidden tokens, spans) of a window. Raises UserError where the targets would be longer than
    the window.
    """
    if length < 2:
        raise UserError(f"config.data.length {length} leaves nothing to hide a span in; raise it")
    noise = min(max(round(length * config.noise_density), 1), length - 1)
    spans = min(max(round(noise / config.mean_span), 1), length - noise)
    if noise + spans + 1 > length:
        raise UserError(
            f"config.objective.noise_density {config.noise_density} makes {noise + spans + 1} "
            "targets of windows of "
            f"config.data.length {length}; lower it, or raise mean_span"
        )
    return noise, spans


def prepare(
    config: Config,
    size: tuple[int, int],
    sentinels: tuple[int, ...],
    start: int,
    key: Array,
    examples: Examples,
) -> Batch:
    """Context is the corrupted text [B L - noise + spans], targets [B noise + spans + 1]. Pure in
    the key.

    With segments the context keeps the length L, its end padded.
    """
    del config
    rows, length = examples.tokens.shape
    isolated = examples.segments is not None
    segments_BL = jnp.ones_like(examples.tokens) if examples.segments is None else examples.segments
    corrupt = partial(_corrupt, size, sentinels, length if isolated else length - size[0] + size[1])
    corrupted = jax.vmap(corrupt)(row_keys(key, rows), examples.tokens, examples.bytes, segments_BL)
    (context, context_segments), (targets, target_bytes, segments) = corrupted
    decoder_inputs = shift_right(targets, segments, start)
    weights = (segments > 0).astype(jnp.float32)
    if not isolated:
        return Batch(Inputs(decoder_inputs, context=context), targets, weights, target_bytes)
    inputs = Inputs(decoder_inputs, segments, places_within(segments), context, context_segments)
    return Batch(inputs, targets, weights, target_bytes)


def _corrupt(
    size: tuple[int, int],
    sentinels: tuple[int, ...],
    context: int,
    key: Array,
    tokens_L: Array,
    bytes_L: Array,
    segments_L: Array,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """((context, its segments), (targets, their bytes, their segments)) of a row."""
    noise_L, begins_L = within_segments(spans(key, tokens_L.shape[0], *size), segments_L)
    order_L = jnp.cumsum(begins_L, dtype=jnp.int32) - 1
    sentinel_L = jnp.asarray(sentinels, jnp.int32)[order_L]
    kept_L = (~noise_L | begins_L) & (segments_L > 0)
    corrupted = compact(kept_L, context, jnp.where(begins_L, sentinel_L, tokens_L), segments_L)
    last_hidden = jnp.where(noise_L, jnp.arange(tokens_L.shape[0]), 0).max()
    columns = (
        jnp.append(
            interleave(sentinel_L, tokens_L), jnp.asarray(sentinels, jnp.int32)[order_L[-1] + 1]
        ),
        jnp.append(interleave(jnp.zeros_like(bytes_L), bytes_L), 0),
        jnp.append(interleave(segments_L, segments_L), segments_L[last_hidden]),
    )
    is_target_E = jnp.append(interleave(begins_L, noise_L), noise_L.any())
    return corrupted, compact(is_target_E, sum(size) + 1, *columns)


def spans(key: Array, length: int, noise: int, count: int) -> Array:
    """bool[length]: `count` spans of `noise` places in all; no two touch, and none is at the
    beginning.
    """
    keys = jax.random.split(key)
    visible, hidden = (
        _parts(part_key, total, count)
        for part_key, total in zip(keys, (length - noise, noise), strict=True)
    )
    ends = jnp.cumsum(interleave(visible, hidden))
    return jnp.searchsorted(ends, jnp.arange(length), side="right") % 2 == 1


def _parts(key: Array, total: int, count: int) -> Array:
    """i32[count]: `count` numbers of at least 1 whose sum is `total`, uniform among all such
    sequences.
    """
    begins = jax.random.permutation(key, jnp.arange(total - 1) < count - 1)
    part_of = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(begins, dtype=jnp.int32)])
    return jnp.zeros(count, jnp.int32).at[part_of].add(1)


OBJECTIVE = Objective(
    Config,
    make,
    scope="causal",
    needs_context=True,
    special_ids=special_ids,
)
