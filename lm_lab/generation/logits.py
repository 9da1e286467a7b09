"""Chooses the next token from logits: constraints, filters, then a draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Config:
    """How text is generated. Filters apply in the order of the fields.

    Raises UserError for settings that exclude each other.
    """

    new_tokens: int = setting("largest number of tokens to generate", 128, low=1, high=10_000_000)
    min_new_tokens: int = setting(
        "smallest number of tokens before a text may end", 0, low=0, high=10_000_000
    )
    repetition_penalty: float = setting(
        "makes tokens that occurred less likely (1909.05858); below 1: likelier",
        1.0,
        low=1e-3,
    )
    no_repeat_ngram: int = setting(
        "no n-gram of this many tokens occurs twice; 0: any may", 0, low=0, high=10_000
    )
    first_token: int | None = setting(
        "id of the first token of every text", None, low=0, high=2**31 - 1
    )
    last_token: int | None = setting(
        "id of the token at the place new_tokens", None, low=0, high=2**31 - 1
    )
    temperature: float = setting("divides the logits; 0: always the likeliest token", 1.0, low=0.0)
    top_k: int | None = setting("draw among the k likeliest; None: all", None, low=1)
    top_p: float | None = setting(
        "draw among the likeliest with total probability p (1904.09751); None: all",
        None,
        low=1e-6,
        high=1,
    )
    min_p: float | None = setting(
        "draw among tokens at least min_p times as likely as the likeliest (2407.01082)",
        None,
        low=0.0,
        high=1,
    )
    beams: int = setting("width of a beam search; 1: draw samples", 1, low=1)
    length_penalty: float = setting(
        "a hypothesis scores log likelihood / length^length_penalty", 1.0, low=-100, high=100
    )
    early_stopping: Literal["never", False, True] = setting(
        "a search ends when no text can become better (never), when none would be at its length "
        "(False), or when as many as beams have ended (True)",
        "never",
    )
    seed: int = setting("seed of the samples", 0, low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        drawn = self.temperature != 1 or self.top_k or self.top_p or self.min_p
        if self.beams > 1 and drawn:
            raise UserError(
                "a beam search does not draw; leave out temperature, top_k, top_p, min_p, or beams"
            )
        if self.min_new_tokens > self.new_tokens:
            raise UserError(
                f"min_new_tokens {self.min_new_tokens} is more than new_tokens {self.new_tokens}"
            )


class Past(NamedTuple):
    """The tokens before the next one, for each row."""

    seen_BV: Array  # bool: the tokens that occur in prompt and text
    text_BT: Array  # i32; -1 at padding and at tokens not yet written
    slot: Array  # i32[], the index of the next token


def follow(past: Past, tokens_B: Array) -> Past:
    """The past after these tokens i32[B]."""
    rows = jnp.arange(len(tokens_B))
    seen_BV, text_BT = (
        past.seen_BV.at[rows, tokens_B].set(True),
        past.text_BT.at[:, past.slot].set(tokens_B),
    )
    return Past(seen_BV, text_BT, past.slot + 1)


def restrict(
    logits_BV: Array, past: Past, step: Array, stops: Sequence[int], config: Config
) -> Array:
    """Masks the logits (or log probabilities) of the text's token number `step` i32[] by -inf.

    Applies in this order: the repetition penalty, no repeated n-gram, no stop token before
    min_new_tokens, and forced tokens, which get the logit 0.
    """
    logits_BV = penalise(logits_BV, past.seen_BV, config.repetition_penalty)
    if config.no_repeat_ngram:
        logits_BV = jnp.where(_repeats(past, config.no_repeat_ngram), -jnp.inf, logits_BV)
    ids_V = jnp.arange(logits_BV.shape[-1])
    if config.min_new_tokens and stops:
        ends_V = jnp.isin(ids_V, jnp.asarray(stops, jnp.int32))
        logits_BV = jnp.where(ends_V & (step < config.min_new_tokens), -jnp.inf, logits_BV)
    for forced, place in ((config.first_token, 0), (config.last_token, config.new_tokens - 1)):
        if forced is not None:
            logits_BV = jnp.where(
                step == place, jnp.where(ids_V == forced, 0.0, -jnp.inf), logits_BV
            )
    return logits_BV


def _repeats(past: Past, size: int) -> Array:
    """bool[B V]: the tokens that would complete an n-gram of length `size` that occurred before."""
    rows, length = past.text_BT.shape
    vocab, windows = past.seen_BV.shape[-1], length - size + 1
    if windows < 1:
        return jnp.zeros_like(past.seen_BV)
    begun_BS = jax.lax.dynamic_slice_in_dim(past.text_BT, past.slot - size + 1, size - 1, 1)
    same_BW = (begun_BS >= 0).all(-1, keepdims=True) & (past.slot >= size - 1)
    for place in range(size - 1):
        same_BW &= past.text_BT[:, place : place + windows] == begun_BS[:, place, None]
    next_BW = past.text_BT[:, size - 1 :]
    banned_BW = jnp.where(same_BW & (next_BW >= 0), next_BW, vocab)
    banned_BV = (
        jnp.zeros((rows, vocab + 1), bool).at[jnp.arange(rows)[:, None], banned_BW].set(True)
    )
    return banned_BV[:, :vocab]


def check_ids(config: Config, vocab: int) -> None:
    """Raises UserError for a forced token outside the vocabulary."""
    for name, value in (("first_token", config.first_token), ("last_token", config.last_token)):
        if value is not None and value >= vocab:
            raise UserError(
                f"{name} {value} is no token of the model, which has {vocab}; give one below"
            )


def penalise(logits_BV: Array, seen_BV: Array, penalty: float) -> Array:
    """Divides positive logits of tokens that occurred (bool) by the penalty, and multiplies others.

    A penalty below 1 makes these tokens likelier.
    """
    if penalty == 1:
        return logits_BV
    return jnp.where(
        seen_BV, jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty), logits_BV
    )


def filtered(logits_BV: Array, config: Config) -> Array:
    """Logits / temperature, -inf for tokens that are filtered out; the likeliest never is."""
    logits_BV = logits_BV / config.temperature
    if config.top_k is not None and config.top_k < logits_BV.shape[-1]:
        least_B1 = jax.lax.top_k(logits_BV, config.top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    if config.top_p is not None and config.top_p < 1:
        # In ascending order, as in transformers: those left out have
        # at most probability 1 - p.
        order_BV = jnp.argsort(logits_BV, axis=-1)
        sorted_BV = jax.nn.softmax(jnp.take_along_axis(logits_BV, order_BV, -1))
        kept_BV = (jnp.cumsum(sorted_BV, -1) > 1 - config.top_p).at[:, -1].set(True)
        allowed_BV = jnp.put_along_axis(
            jnp.zeros_like(kept_BV), order_BV, kept_BV, -1, inplace=False
        )
        logits_BV = jnp.where(allowed_BV, logits_BV, -jnp.inf)
    if config.min_p:
        least_B1 = logits_BV.max(-1, keepdims=True) + jnp.log(config.min_p)
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    return logits_BV


def choose(keys_B: Array, logits_BV: Array, config: Config) -> Array:
    """The next tokens i32[B] from constrained logits; each row draws with its own key."""
    if config.temperature == 0:
        return logits_BV.argmax(-1).astype(jnp.int32)
    return jax.vmap(jax.random.categorical)(keys_B, filtered(logits_BV, config)).astype(jnp.int32)
