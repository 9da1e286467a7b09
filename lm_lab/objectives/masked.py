"""Masked tokens (BERT, 1810.04805): some tokens are hidden, and each is predicted from all the
others.

Each token is chosen on its own, or with its whole word, at the same rate (a Bernoulli draw, so that
the rate is that of every text, long or short, and a window may have no target at all); the draw is
another at every step. Padding and end_of_document are never chosen.

Bits per byte: those of the hidden tokens given what was left of the window, by the bytes of these
tokens. As a token sees both its sides, this is not a likelihood of the text, and must not be
compared with one.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import MetricChoice, Objective
from lm_lab.nn.positions import places_within
from lm_lab.objectives._common import of_likelihood
from lm_lab.schema import setting
from lm_lab.types import Batch, Examples, Inputs, ObjectiveFunctions, UserError, Vocabulary


@dataclass(frozen=True)
class Config:
    """The fields of a config's objective section. Raises UserError for shares above 1."""

    rate: float = setting("probability that a token is a target", 0.15, low=0.001, high=1.0)
    mask_share: float = setting("of the targets, replaced by the mask", 0.8, low=0.0, high=1.0)
    random_share: float = setting(
        "of the targets, replaced by any token; the others stay", 0.1, low=0.0, high=1.0
    )
    whole_words: bool = setting("whether the tokens of a word are chosen together", False)
    pseudo_batches: int = setting(
        "held-out batches whose pseudo-likelihood is taken at the end", 0, low=0
    )

    def __post_init__(self) -> None:
        if self.mask_share + self.random_share > 1 + 1e-9:
            shares = f"mask_share {self.mask_share} and random_share {self.random_share}"
            raise UserError(f"{shares} are together above 1; lower one of them")


def metrics(config: Config) -> tuple[MetricChoice, ...]:
    """The pseudo-likelihood on some held-out batches, if the settings ask for it."""
    batches = config.pseudo_batches
    return (MetricChoice("pseudo_likelihood", {"batches": batches}),) if batches else ()


def make(config: Config, length: int, vocabulary: Vocabulary) -> ObjectiveFunctions:
    """The objective on windows of `length` tokens."""
    del length
    return of_likelihood(partial(prepare, config, vocabulary))


def special_ids(config: Config, length: int, vocabulary: Vocabulary) -> int:
    """One id beyond the vocabulary, the mask, where the tokenizer has none."""
    del config, length
    return int(vocabulary.mask is None)


def prepare(config: Config, vocabulary: Vocabulary, key: Array, examples: Examples) -> Batch:
    """Targets are the tokens themselves, with weight 1 where one was chosen. Pure in the key."""
    choice_key, fate_key, random_key = jax.random.split(key, 3)
    tokens, segments = examples.tokens, examples.segments
    unit_BL = (
        words(tokens, segments, vocabulary)
        if config.whole_words
        else jnp.arange(tokens.shape[1])[None]
    )
    draw_BL = jax.random.uniform(choice_key, tokens.shape)
    chosen_BL = (
        jnp.take_along_axis(draw_BL, jnp.broadcast_to(unit_BL, tokens.shape), axis=1) < config.rate
    )
    chosen_BL &= tokens != vocabulary.end_of_document
    if segments is not None:
        chosen_BL &= segments > 0
    fate_BL = jax.random.uniform(fate_key, tokens.shape)
    random_BL = jax.random.randint(random_key, tokens.shape, 0, vocabulary.size - 1)
    random_BL += random_BL >= vocabulary.end_of_document
    inputs_BL = jnp.where(fate_BL < config.mask_share + config.random_share, random_BL, tokens)
    inputs_BL = jnp.where(fate_BL < config.mask_share, vocabulary.hides, inputs_BL)
    inputs_BL = jnp.where(chosen_BL, inputs_BL, tokens)
    positions = None if segments is None else places_within(segments)
    return Batch(
        Inputs(inputs_BL, segments, positions),
        tokens,
        chosen_BL.astype(jnp.float32),
        examples.bytes,
    )


def words(tokens_BL: Array, segments_BL: Array | None, vocabulary: Vocabulary) -> Array:
    """i32[B L]: the place in the row where the word of each token begins; a token outside of words
    is a word of its own.
    """
    kind_BL = jnp.asarray(vocabulary.words)[tokens_BL]
    goes_on_BL = (kind_BL[:, 1:] == 1) & (kind_BL[:, :-1] > 0)
    if segments_BL is not None:
        goes_on_BL &= segments_BL[:, 1:] == segments_BL[:, :-1]
    begins_BL = jnp.pad(~goes_on_BL, ((0, 0), (1, 0)), constant_values=True)
    return jax.lax.cummax(jnp.where(begins_BL, jnp.arange(tokens_BL.shape[1]), 0), axis=1)


OBJECTIVE = Objective(
    Config,
    make,
    scope="bidirectional",
    special_ids=special_ids,
    metrics=metrics,
    pseudo_likelihood=True,
)
