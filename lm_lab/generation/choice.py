"""Which token comes next: from logits to a draw."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Config:
    """How text is generated. Filters apply in the order of the fields. Raises UserError for what excludes itself."""

    new_tokens: int = setting("tokens to generate, at most", 128, low=1, high=10_000_000)
    repetition_penalty: float = setting(
        "divides what speaks for a token that is already there (1909.05858)", 1.0, low=1
    )
    temperature: float = setting("divides the logits; 0: the likeliest token", 1.0, low=0.0)
    top_k: int | None = setting("draw among the k likeliest; None: all", None, low=1)
    top_p: float | None = setting("among the likeliest that make up p (1904.09751); None: all", None, low=1e-6, high=1)
    min_p: float | None = setting("among those at least min_p times the likeliest (2407.01082)", None, low=0.0, high=1)
    beams: int = setting("width of a beam search; 1: draw", 1, low=1)
    length_penalty: float = setting("a hypothesis scores its log likelihood / length^this", 1.0)
    seed: int = setting("of the draws", 0, low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        drawn = self.temperature != 1 or self.top_k or self.top_p or self.min_p
        if self.beams > 1 and drawn:
            raise UserError("a beam search does not draw; leave out temperature, top_k, top_p, min_p, or beams")


def penalise(logits_BV: Array, seen_BV: Array, penalty: float) -> Array:
    """Logits in which tokens that were seen (bool) are less likely: divided by the penalty, or multiplied below 0."""
    if penalty == 1:
        return logits_BV
    return jnp.where(seen_BV, jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty), logits_BV)


def filtered(logits_BV: Array, config: Config) -> Array:
    """Logits / temperature, -inf where a token may not be drawn; the likeliest always may."""
    logits_BV = logits_BV / config.temperature
    if config.top_k is not None and config.top_k < logits_BV.shape[-1]:
        least_B1 = jax.lax.top_k(logits_BV, config.top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    if config.top_p is not None and config.top_p < 1:
        order_BV = jnp.argsort(-logits_BV, axis=-1)
        sorted_BV = jax.nn.softmax(jnp.take_along_axis(logits_BV, order_BV, -1))
        kept_BV = jnp.cumsum(sorted_BV, -1) - sorted_BV < config.top_p  # what is likelier leaves room
        allowed_BV = jnp.put_along_axis(jnp.zeros_like(kept_BV), order_BV, kept_BV, -1, inplace=False)
        logits_BV = jnp.where(allowed_BV, logits_BV, -jnp.inf)
    if config.min_p:
        least_B1 = logits_BV.max(-1, keepdims=True) + jnp.log(config.min_p)
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    return logits_BV


def choose(keys_B: Array, logits_BV: Array, seen_BV: Array, config: Config) -> Array:
    """The next tokens i32[B]; each row draws with a key of its own."""
    logits_BV = penalise(logits_BV, seen_BV, config.repetition_penalty)
    if config.temperature == 0:
        return logits_BV.argmax(-1).astype(jnp.int32)
    return jax.vmap(jax.random.categorical)(keys_B, filtered(logits_BV, config)).astype(jnp.int32)
