"""A language model of flax.linen's nn.RNN over its own cells, one call a step with the state donated."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from bench_peers.plain_flax import optimizer
from bench_peers.shape import VOCAB, Shape
from jax import Array

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


class Network(nn.Module):
    shape: Shape
    cell: str

    @nn.compact
    def __call__(self, tokens_BL: Array) -> Array:
        x_BLD: Any = nn.Embed(VOCAB, self.shape.width)(tokens_BL)
        for _ in range(self.shape.depth):
            x_BLD = nn.RNN(CELLS[self.cell](self.shape.width))(x_BLD)
        return nn.Dense(VOCAB, use_bias=False)(x_BLD)


def contender(shape: Shape, cell: str) -> Callable[[], None]:
    """A function that takes shape.steps steps and waits for the last."""
    update, model = optimizer(), Network(shape, cell)
    windows = np.random.default_rng(0).integers(VOCAB, size=(shape.batch_size, shape.length + 1), dtype=np.int32)
    params = jax.jit(model.init)(jax.random.key(0), windows[:1, 1:])["params"]

    def loss(params: dict, windows: Array) -> Array:
        logits: Any = model.apply({"params": params}, windows[:, :-1])
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple, windows: Array) -> tuple:
        params, opt_state = state
        value, grads = jax.value_and_grad(loss)(params, windows)
        updates, opt_state = update.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    state = (params, jax.jit(update.init)(params))

    def take_turn() -> None:
        nonlocal state
        for _ in range(shape.steps):
            state, value = step(state, windows)
        jax.block_until_ready(value)

    return take_turn
