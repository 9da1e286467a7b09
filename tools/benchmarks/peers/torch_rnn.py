"""A language model of torch's nn.LSTM or nn.GRU, trained by
benchmarks/peers/torch_trainer.py in a process of its own:

python -m tools.benchmarks.peers.torch_rnn SHAPE lstm|gru
"""

# pyright: reportMissingImports=false
# torch is an extra, and may be another environment's.
import torch
import torch.nn as nn
import torch.nn.functional as F

from tools.benchmarks.peers.shape import GATES, RECURRENT_SHAPES, Shape, rnn_params
from tools.benchmarks.peers.torch_trainer import Trainer, count, serve


class Network(nn.Module):
    """Windows i64[B L+1] to the mean loss."""

    def __init__(self, shape: Shape, cell: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.vocab, shape.width)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.layers = kind(shape.width, shape.width, shape.depth, batch_first=True)
        self.head = nn.Linear(shape.width, shape.vocab, bias=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        features, _ = self.layers(self.embed(windows[:, :-1]))
        return F.cross_entropy(self.head(features).flatten(0, 1), windows[:, 1:].reshape(-1))


def build(size: str, cell: str) -> Trainer:
    shape = RECURRENT_SHAPES[size]
    model = Network(shape, cell)
    assert count(model) == rnn_params(
        shape, cell, biases=2 * GATES[cell]
    )  # one for x, another for the state
    windows = torch.randint(shape.vocab, (shape.batch_size, shape.length + 1))
    return Trainer(model, lambda: model(windows), shape.steps)


if __name__ == "__main__":
    serve(build)
