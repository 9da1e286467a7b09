"""What all contenders of the recurrent benchmark share: embedding, layers of one width, untied head without bias.

No norms, residuals and dropout, as nn.LSTM has none; the optimizer is that of bench_peers/shape.py. No jax, no torch.
"""

from typing import NamedTuple

VOCAB = 512


class Shape(NamedTuple):
    width: int
    depth: int
    length: int
    batch_size: int
    steps: int  # that a contender takes at a turn: a few seconds of work

    @property
    def tokens(self) -> int:
        """Targets of a turn."""
        return self.batch_size * self.length * self.steps


SHAPES = {
    "128x2": Shape(width=128, depth=2, length=128, batch_size=32, steps=20),
    "256x2": Shape(width=256, depth=2, length=128, batch_size=32, steps=10),
    "512x2": Shape(width=512, depth=2, length=128, batch_size=32, steps=10),
}
CELLS = ("lstm", "gru")
