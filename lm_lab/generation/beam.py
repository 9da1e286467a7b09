"""Beam search: the likeliest texts among K hypotheses a row."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lm_lab.generation import advance, check_length, init_cache
from lm_lab.generation.logits import Config, Past, follow, restrict
from lm_lab.generation.sampling import start
from lm_lab.types import Inputs, PyTree

NEVER = -1e30


class Hypotheses(NamedTuple):
    """K texts a row, with their scores."""

    tokens_BKN: Array  # i32
    scores_BK: Array  # f32: log likelihood; if finished, over length^length_penalty
    lengths_BK: Array  # i32: tokens, with the stop token if there is one


class Search(NamedTuple):
    """The state of a search: K unfinished hypotheses a row, and the best K finished ones."""

    cache: PyTree  # of B K rows
    logits_RV: Array  # f32, R = B K
    positions_R: Array
    past: Past  # of R rows
    live: Hypotheses
    ended: Hypotheses
    open_B: Array  # bool: an unfinished text of the row may still enter its best K
    step: Array  # i32[]


def beam_search(
    model: Any,
    variables: PyTree,
    prompt: Inputs,
    config: Config,
    stops: Sequence[int] = (),
    max_length: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens i32[B K N], lengths i32[B K] without the stop token, scores f32[B K]), best first.

    Finished texts, and texts that reach new_tokens, are ranked by log likelihood /
    length^length_penalty, the stop token counted. The result is that of transformers, token for
    token. Raises UserError if prompt and new tokens are more than `max_length`, for which the model
    has positions (None: any).
    """
    check_length(prompt.tokens.shape[1] + config.new_tokens, max_length)
    hypotheses = jax.jit(partial(search, model, config, tuple(stops)))(variables, prompt)
    tokens, lengths = np.asarray(hypotheses.tokens_BKN), np.asarray(hypotheses.lengths_BK)
    positions = np.arange(tokens.shape[-1])
    stopped = (np.isin(tokens, np.asarray(stops, np.int32)) & (positions < lengths[..., None])).any(
        -1
    )
    return tokens, lengths - stopped, np.asarray(hypotheses.scores_BK)


def search(
    model: Any, config: Config, stops: tuple[int, ...], variables: PyTree, prompt: Inputs
) -> Hypotheses:
    """The best texts with their scores, as a pure function to be compiled; see `beam_search`."""
    axes = _row_axes(model, variables, prompt)
    search = _begin(model, config, variables, prompt, axes)

    def goes_on(search: Search) -> Array:
        return (search.step < config.new_tokens) & search.open_B.any()

    return lax.while_loop(
        goes_on, partial(_extend, model, config, stops, variables, axes), search
    ).ended


def _is_open(config: Config, live: Hypotheses, ended: Hypotheses, length: Array) -> Array:
    """bool[B]: whether an unfinished text of `length` tokens may still enter the row's best K.

    Likelihoods only fall, so its present likelihood, at the length that favours it most, bounds its
    final score.
    """
    if config.early_stopping == "never" and config.length_penalty > 0:
        length = jnp.int32(config.new_tokens)
    hope_B = live.scores_BK[:, 0] / length.astype(jnp.float32) ** config.length_penalty
    open_B = hope_B > ended.scores_BK[:, -1]
    return open_B & (ended.scores_BK[:, -1] <= NEVER) if config.early_stopping is True else open_B


def _begin(model: Any, config: Config, variables: PyTree, prompt: Inputs, axes: PyTree) -> Search:
    state = start(model, config, variables, prompt)
    rows, beams = prompt.tokens.shape[0], config.beams
    cache = jax.tree.map(
        lambda x, axis: x if axis < 0 else jnp.repeat(x, beams, axis), state.cache, axes
    )
    logits_RV, positions_R, seen_RV, text_RT = (
        jnp.repeat(x, beams, 0)
        for x in (
            state.logits_BV,
            state.positions_B,
            state.past.seen_BV,
            state.past.text_BT,
        )
    )
    past = Past(seen_RV, text_RT, state.past.slot)
    none = Hypotheses(
        jnp.zeros((rows, beams, config.new_tokens), jnp.int32),
        jnp.full((rows, beams), NEVER),
        jnp.zeros((rows, beams), jnp.int32),
    )
    # At first, all hypotheses of a row are the same: only one of them counts.
    live = none._replace(scores_BK=none.scores_BK.at[:, 0].set(0.0))
    return Search(
        cache, logits_RV, positions_R, past, live, none, jnp.ones(rows, bool), jnp.int32(0)
    )


def _extend(
    model: Any,
    config: Config,
    stops: tuple[int, ...],
    variables: PyTree,
    axes: PyTree,
    search: Search,
) -> Search:
    rows, beams, _ = search.live.tokens_BKN.shape
    logp_RV = jax.nn.log_softmax(search.logits_RV)
    logp_RV = restrict(logp_RV, search.past, search.step, stops, config)
    vocab = logp_RV.shape[-1]
    total_BKV = search.live.scores_BK[..., None] + logp_RV.reshape(rows, beams, vocab)
    # Enough candidates that K remain, even if each hypothesis ends by every stop token.
    candidates = max(2, 1 + len(stops)) * beams
    scores_BC, flat_BC = lax.top_k(total_BKV.reshape(rows, -1), min(candidates, beams * vocab))
    parents_BC, tokens_BC = flat_BC // vocab, (flat_BC % vocab).astype(jnp.int32)
    texts_BCN = (
        jnp.take_along_axis(search.live.tokens_BKN, parents_BC[..., None], 1)
        .at[:, :, search.step]
        .set(tokens_BC)
    )
    ends_BC = jnp.isin(tokens_BC, jnp.asarray(stops, jnp.int32))
    length = search.step + 1
    lengths_BC = jnp.full_like(tokens_BC, length)
    normalised_BC = scores_BC / length.astype(jnp.float32) ** config.length_penalty
    # Only candidates among the best K may finish, as in transformers.
    finished_BC = (ends_BC | (length == config.new_tokens)) & (
        jnp.arange(scores_BC.shape[1]) < beams
    )
    finished_BC &= search.open_B[:, None]
    ending = Hypotheses(texts_BCN, jnp.where(finished_BC, normalised_BC, NEVER), lengths_BC)
    going = jnp.where(ends_BC, NEVER, scores_BC)
    scores_BK, picked_BK = lax.top_k(going, beams)
    live = Hypotheses(
        jnp.take_along_axis(texts_BCN, picked_BK[..., None], 1), scores_BK, lengths_BC[:, :beams]
    )
    rows_R = (
        jnp.arange(rows)[:, None] * beams + jnp.take_along_axis(parents_BC, picked_BK, 1)
    ).reshape(-1)
    tokens_R = jnp.take_along_axis(tokens_BC, picked_BK, 1).reshape(-1)
    cache = jax.tree.map(
        lambda x, axis: x if axis < 0 else jnp.take(x, rows_R, axis), search.cache, axes
    )
    inputs = Inputs(
        tokens_R[:, None], jnp.ones_like(tokens_R)[:, None], search.positions_R[:, None]
    )
    logits_R1V, cache = advance(model, variables, cache, inputs)
    past = follow(
        search.past._replace(
            seen_BV=search.past.seen_BV[rows_R], text_BT=search.past.text_BT[rows_R]
        ),
        tokens_R,
    )
    ended = _best(beams, search.ended, ending)
    open_B = search.open_B & _is_open(config, live, ended, length)
    return Search(
        cache, logits_R1V[:, 0], search.positions_R + 1, past, live, ended, open_B, length
    )


def _best(beams: int, *candidates: Hypotheses) -> Hypotheses:
    """Merges hypotheses, and keeps the best `beams` of each row, best first."""
    joined = jax.tree.map(lambda *arrays: jnp.concatenate(arrays, 1), *candidates)
    scores_BK, order_BK = lax.top_k(joined.scores_BK, beams)
    tokens_BKN = jnp.take_along_axis(joined.tokens_BKN, order_BK[..., None], 1)
    return Hypotheses(tokens_BKN, scores_BK, jnp.take_along_axis(joined.lengths_BK, order_BK, 1))


def _row_axes(model: Any, variables: PyTree, inputs: Inputs) -> PyTree:
    """The axis of each cache leaf that grows with the number of rows; -1 if none does."""

    def shapes(rows: int) -> PyTree:
        wider = jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), inputs)
        return jax.eval_shape(lambda v, i: init_cache(model, v, i), variables, wider)

    def axis(two: Any, three: Any) -> int:
        return next((i for i, (a, b) in enumerate(zip(two.shape, three.shape)) if a != b), -1)

    return jax.tree.map(axis, shapes(2), shapes(3))
