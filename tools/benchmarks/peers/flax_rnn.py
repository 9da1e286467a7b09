"""A language model of flax.linen's nn.RNN over its own cells, trained by
benchmarks/peers/flax_trainer.py.
"""

from typing import Any

import flax.linen as nn
import optax
from jax import Array

from tools.benchmarks.peers import flax_trainer
from tools.benchmarks.peers.shape import Shape, rnn_params
from tools.benchmarks.turns import Turn

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}


class Network(nn.Module):
    shape: Shape
    cell: str

    @nn.compact
    def __call__(self, tokens_BL: Array) -> Array:
        x_BLD: Any = nn.Embed(self.shape.vocab, self.shape.width)(tokens_BL)
        for _ in range(self.shape.depth):
            x_BLD = nn.RNN(CELLS[self.cell](self.shape.width))(x_BLD)
        return nn.Dense(self.shape.vocab, use_bias=False)(x_BLD)


def contender(shape: Shape, cell: str) -> Turn:
    def mean(logits: Array, targets: Array) -> Array:
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    return flax_trainer.trainer(shape, Network(shape, cell), rnn_params(shape, cell), mean)
