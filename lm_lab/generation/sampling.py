"""Sampling for a batch of prompts, in one compiled loop or as a stream."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lm_lab.generation import advance, check_length, init_cache, longer
from lm_lab.generation.logits import Config, Past, check_ids, choose, follow, restrict
from lm_lab.types import Inputs, PyTree


class DecodeState(NamedTuple):
    """The state of decoding: all that the next token depends on."""

    cache: PyTree
    logits_BV: Array  # f32, of the next token
    positions_B: Array  # i32, of the next token
    past: Past
    done_B: Array  # bool: a stop token was written
    step: Array  # i32[]: tokens written


def generate(
    model: Any,
    variables: PyTree,
    prompt: Inputs,
    config: Config,
    stops: Sequence[int] = (),
    max_length: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens i32[B new_tokens], their number i32[B]) that continue prompts (`generation.prompts`).

    A row ends before its first stop token and repeats that token after it. Raises UserError if
    prompt and new tokens are more than `max_length`, for which the model has positions (None: any).
    """
    parts = stream(model, variables, prompt, config, stops, max_length, every=32)
    tokens = np.concatenate(list(parts), axis=1)
    ended = np.isin(tokens, np.asarray(stops, np.int32))
    return tokens, np.where(ended.any(1), ended.argmax(1), tokens.shape[1]).astype(np.int32)


def stream(
    model: Any,
    variables: PyTree,
    prompt: Inputs,
    config: Config,
    stops: Sequence[int] = (),
    max_length: int | None = None,
    every: int = 1,
) -> Iterator[np.ndarray]:
    """Yields the tokens of `generate`, i32[B n], `every` at a time, until all rows have stopped."""
    check_length(prompt.tokens.shape[1] + config.new_tokens, max_length)
    state = jax.jit(partial(start, model, config))(variables, prompt)
    step = jax.jit(partial(write, model, config, tuple(stops)), static_argnums=2, donate_argnums=1)
    for begin in range(0, config.new_tokens, every):
        state, tokens_BN = step(variables, state, min(every, config.new_tokens - begin))
        yield np.asarray(tokens_BN)
        if bool(state.done_B.all()):
            return


def start(model: Any, config: Config, variables: PyTree, prompt: Inputs) -> DecodeState:
    """Reads the prompts into a cache with room for the text."""
    cache = init_cache(model, variables, longer(prompt, config.new_tokens))
    logits_B1V, cache = advance(model, variables, cache, prompt, last=True)
    assert prompt.segments is not None
    assert prompt.positions is not None
    rows, length = jnp.arange(prompt.tokens.shape[0]), prompt.tokens.shape[1]
    check_ids(config, logits_B1V.shape[-1])
    seen_BV = (
        jnp.zeros(logits_B1V[:, 0].shape, bool)
        .at[rows[:, None], prompt.tokens]
        .max(prompt.segments > 0)
    )
    text_BL = jnp.where(prompt.segments > 0, prompt.tokens, -1)
    text_BT = jnp.pad(text_BL, ((0, 0), (0, config.new_tokens)), constant_values=-1)
    past = Past(seen_BV, text_BT, jnp.int32(length))
    return DecodeState(
        cache, logits_B1V[:, 0], prompt.positions[:, -1] + 1, past, rows < 0, jnp.int32(0)
    )


def write(
    model: Any,
    config: Config,
    stops: tuple[int, ...],
    variables: PyTree,
    state: DecodeState,
    tokens: int,
) -> tuple[DecodeState, Array]:
    """The next `tokens` tokens i32[B tokens] of every row; a stopped row repeats its stop token."""

    def one(state: DecodeState, _: None) -> tuple[DecodeState, Array]:
        seeded = jax.random.fold_in(jax.random.key(config.seed), state.step)
        rows = jnp.arange(state.done_B.shape[0])
        keys_B = jax.vmap(jax.random.fold_in, (None, 0))(seeded, rows)
        logits_BV = restrict(state.logits_BV, state.past, state.step, stops, config)
        tokens_B = choose(keys_B, logits_BV, config)
        if stops:
            tokens_B = jnp.where(state.done_B, stops[0], tokens_B)
        done_B = state.done_B | jnp.isin(tokens_B, jnp.asarray(stops, jnp.int32))
        inputs = Inputs(
            tokens_B[:, None], jnp.ones_like(tokens_B)[:, None], state.positions_B[:, None]
        )
        logits_B1V, cache = advance(model, variables, state.cache, inputs)
        past = follow(state.past, tokens_B)
        return DecodeState(
            cache, logits_B1V[:, 0], state.positions_B + 1, past, done_B, state.step + 1
        ), tokens_B

    state, tokens_NB = lax.scan(one, state, None, length=tokens)
    return state, tokens_NB.T
