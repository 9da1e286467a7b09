"""A plain Flax step in the structure of google-deepmind/nanodo (model.py, loss.py, train.py; Apache-2.0).

Kept of it: Dense and DenseGeneral without biases, jax.nn.gelu and softmax, a Python loop over blocks, one call a step
with the state donated, loss as a weighted mean. Left out, in its favour: optax.MultiSteps and the internal metrics.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from bench_peers import shape as settings
from bench_peers.shape import Shape, gpt_params
from jax import Array


class Attention(nn.Module):
    shape: Shape

    @nn.compact
    def __call__(self, x_BLD: Array) -> Array:
        width, heads, length = self.shape.width, self.shape.heads, x_BLD.shape[1]
        project = partial(nn.DenseGeneral, features=(heads, width // heads), use_bias=False)
        q_BLHK, k_BLHK, v_BLHK = (project(name=name)(x_BLD) for name in ("query", "key", "value"))
        scores_BHLL = jnp.einsum("...qhd,...khd->...hqk", q_BLHK / (width // heads) ** 0.5, k_BLHK)
        mask = jnp.tril(jnp.ones((1, 1, length, length), bool))
        weights_BHLL = jax.nn.softmax(jnp.where(mask, scores_BHLL, jnp.finfo(jnp.float32).min))
        mixed_BLHK = jnp.einsum("...hqk,...khd->...qhd", weights_BHLL, v_BLHK)
        return nn.DenseGeneral(width, axis=(-2, -1), use_bias=False)(mixed_BLHK)


class Block(nn.Module):
    shape: Shape

    @nn.compact
    def __call__(self, x_BLD: Array) -> Array:
        dense = partial(nn.Dense, use_bias=False)
        x_BLD += Attention(self.shape)(nn.LayerNorm(use_bias=False)(x_BLD))
        hidden_BLF = jax.nn.gelu(dense(4 * self.shape.width)(nn.LayerNorm(use_bias=False)(x_BLD)))
        return x_BLD + dense(self.shape.width)(hidden_BLF)


class Decoder(nn.Module):
    shape: Shape

    @nn.compact
    def __call__(self, tokens_BL: Array) -> Array:
        embed = nn.Embed(settings.VOCAB, self.shape.width)
        x_BLD = embed(tokens_BL) + nn.Embed(self.shape.length, self.shape.width)(jnp.arange(tokens_BL.shape[1])[None])
        for _ in range(self.shape.depth):
            x_BLD = Block(self.shape)(x_BLD)
        return embed.attend(nn.LayerNorm(use_bias=False)(x_BLD))


def optimizer() -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        0.0,
        settings.PEAK_RATE,
        settings.WARMUP_STEPS,
        settings.STEPS,
        settings.FINAL_FRACTION * settings.PEAK_RATE,
    )
    adamw = optax.adamw(rate, settings.BETA1, settings.BETA2, settings.EPSILON, weight_decay=settings.WEIGHT_DECAY)
    return optax.chain(optax.clip_by_global_norm(settings.CLIP_NORM), adamw)


def contender(shape: Shape) -> Callable[[], None]:
    """A function that takes shape.steps steps and waits for the last."""
    update = optimizer()
    model: Any = Decoder(shape)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, shape.length), jnp.int32))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == gpt_params(shape)

    def loss(params: dict, windows: Array) -> Array:
        weights = jnp.ones(windows[:, 1:].shape, jnp.float32)
        logits: Any = model.apply({"params": params}, windows[:, :-1])
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:])
        return (losses * weights).sum() / weights.sum()

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple, windows: Array) -> tuple:
        params, opt_state = state
        value, grads = jax.value_and_grad(loss)(params, windows)
        updates, opt_state = update.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), (value, optax.tree.norm(grads))

    state = (params, jax.jit(update.init)(params))
    windows = np.random.default_rng(0).integers(
        settings.VOCAB, size=(shape.batch_size, shape.length + 1), dtype=np.int32
    )

    def take_turn() -> None:
        nonlocal state
        for _ in range(shape.steps):
            state, metrics = step(state, windows)
        jax.block_until_ready(metrics)

    return take_turn
