"""Generates text token by token, with whatever state the model family caches.

`init_cache` makes a cache (a tree) for a number of rows and tokens; `advance` maps it and any
number of next tokens to logits and the next cache. Prompts of unequal length are padded on the left
with segment 0, so that all rows write to the same slot, and the text of a row does not depend on
the other rows.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lm_lab.types import Inputs, PyTree, UserError


def init_cache(model: Any, variables: PyTree, inputs: Inputs) -> PyTree:
    """An empty cache for as many rows and tokens as `inputs` has (arrays, or their shapes).

    Raises UserError for a model without a cache: it would continue from the last token alone.
    """
    _, cache = jax.eval_shape(
        lambda weights, batch: _features(model, weights, {}, batch), variables, inputs
    )
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)


def advance(
    model: Any, variables: PyTree, cache: PyTree, inputs: Inputs, *, last: bool = False
) -> tuple[Array, PyTree]:
    """(logits f32[B L V] of the L next tokens, or [B 1 V] if `last`; the cache with the tokens)."""
    features_BLD, cache = _features(model, variables, cache, inputs)
    kept_BLD = features_BLD[:, -1:] if last else features_BLD
    return model.apply(variables, kept_BLD, method="readout"), cache


def _features(model: Any, variables: PyTree, cache: PyTree, inputs: Inputs) -> tuple[Array, PyTree]:
    collections = {"cache": cache} if cache else {}
    features_BLD, changed = model.apply(
        {**variables, **collections}, inputs, mutable=["cache"], method="features"
    )
    if "cache" not in changed:
        raise UserError(
            f"{type(model).__module__} keeps nothing of earlier tokens, and can only be "
            "trained; let it fill the "
            '"cache" where nn/cache.py is_decoding(module) is true'
        )
    return features_BLD, changed["cache"]


def prompts(
    rows: Sequence[Sequence[int]], contexts: Sequence[Sequence[int]] | None = None
) -> Inputs:
    """Prompts of unequal lengths as one batch, padded on the left; contexts are padded on the
    right.

    Contexts are for families that read one. Raises UserError for an empty prompt: generation needs
    a token to start from.
    """
    if not rows or not all(len(row) for row in rows):
        raise UserError(
            "a prompt has no tokens; give a text, or the end-of-document token as its start"
        )
    tokens, segments = padded(rows, left=True)
    positions = np.maximum(np.cumsum(segments, axis=1) - 1, 0)
    inputs = Inputs(*map(jnp.asarray, (tokens, segments, positions)))
    if contexts is None:
        return inputs
    context, context_segments = map(jnp.asarray, padded(contexts, left=False))
    return inputs._replace(context=context, context_segments=context_segments)


def padded(
    rows: Sequence[Sequence[int]], shape: tuple[int, int] | None = None, *, left: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(ids, 1 at each token) i32[B L], or of a shape that has room; both are 0 at padding."""
    shape = shape or (len(rows), max(1, *map(len, rows)))
    ids, is_token = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for index, row in enumerate(rows):
        columns = slice(shape[1] - len(row), shape[1]) if left else slice(0, len(row))
        ids[index, columns], is_token[index, columns] = row, 1
    return ids, is_token


def longer(inputs: Inputs, tokens: int) -> Inputs:
    """The shapes of inputs with room for `tokens` more tokens, for which a cache is made."""
    rows, length = inputs.tokens.shape
    wide = jax.ShapeDtypeStruct((rows, length + tokens), jnp.int32)
    return inputs._replace(tokens=wide, segments=wide, positions=wide)


def check_length(tokens: int, max_length: int | None) -> None:
    """Raises UserError if the model has learned positions for fewer tokens (Family.max_length)."""
    if max_length is not None and tokens > max_length:
        raise UserError(
            f"prompt and new tokens are {tokens}, and the model has positions for {max_length}; "
            "ask for fewer"
        )


def cache_bytes(cache: PyTree) -> int:
    """The size in bytes of a cache (of arrays or their shapes)."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache))
