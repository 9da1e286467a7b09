"""A plain Flax step in the structure of google-deepmind/nanodo
(model.py, loss.py, train.py; Apache-2.0).

Kept of it: Dense and DenseGeneral without biases, jax.nn.gelu and softmax, a Python loop over
blocks, one call a step with the state donated, loss as a weighted mean. Left out, in its favour:
optax.MultiSteps and the internal metrics.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from tools.benchmarks.peers import flax_trainer
from tools.benchmarks.peers.shape import Shape, gpt_params
from tools.benchmarks.turns import Turn


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
        embed = nn.Embed(self.shape.vocab, self.shape.width)
        x_BLD = embed(tokens_BL) + nn.Embed(self.shape.length, self.shape.width)(
            jnp.arange(tokens_BL.shape[1])[None]
        )
        for _ in range(self.shape.depth):
            x_BLD = Block(self.shape)(x_BLD)
        return embed.attend(nn.LayerNorm(use_bias=False)(x_BLD))


def contender(shape: Shape) -> Turn:
    def mean(logits: Array, targets: Array) -> Array:
        weights = jnp.ones(targets.shape, jnp.float32)
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)
        return (losses * weights).sum() / weights.sum()

    return flax_trainer.trainer(shape, Decoder(shape), gpt_params(shape), mean, optax.tree.norm)
