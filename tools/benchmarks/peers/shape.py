"""Shared by all contenders of the training benchmarks: shapes of models, optimizer settings.

A contender must have exactly the parameters counted here. float32; global-norm clipping, then AdamW
with linear warm-up and cosine decay. This file imports neither jax nor torch.
"""

from typing import NamedTuple

PEAK_RATE, WARMUP_STEPS, STEPS, FINAL_FRACTION = 1e-3, 100, 10_000, 0.1
BETA1, BETA2, EPSILON, WEIGHT_DECAY, CLIP_NORM = 0.9, 0.99, 1e-8, 0.1, 1.0


class Shape(NamedTuple):
    width: int
    depth: int
    length: int
    batch_size: int
    steps: int  # steps of a turn: a few seconds of work
    heads: int = 0  # attention heads; 0 for a recurrent model
    vocab: int = 512

    @property
    def tokens(self) -> int:
        """Targets of a turn."""
        return self.batch_size * self.length * self.steps


SHAPES = {
    "128x4": Shape(width=128, depth=4, heads=4, length=128, batch_size=32, steps=20),
    "384x6": Shape(width=384, depth=6, heads=6, length=256, batch_size=16, steps=10),
}
SHAPES["128x4x8k"] = SHAPES["128x4"]._replace(vocab=8192)
RECURRENT_SHAPES = {
    "128x2": Shape(width=128, depth=2, length=128, batch_size=32, steps=20),
    "256x2": Shape(width=256, depth=2, length=128, batch_size=32, steps=10),
    "512x2": Shape(width=512, depth=2, length=128, batch_size=32, steps=10),
}
GATES = {"lstm": 4, "gru": 3}  # of each recurrent cell


def gpt_params(shape: Shape) -> int:
    """Parameters of a GPT: pre-norm, LayerNorm, learned positions, GELU
    (tanh form), no biases, tied head.
    """
    width = shape.width
    norms = (2 * shape.depth + 1) * width
    return (shape.vocab + shape.length) * width + 12 * shape.depth * width**2 + norms


def bert_params(shape: Shape) -> int:
    """Parameters of a BERT, with two kinds of segments and a tied head."""
    width = shape.width
    layer = (
        12 * width**2 + 13 * width
    )  # four vectors of norms, four of attention, five of the feed-forward layer
    tables = (shape.vocab + shape.length + 2) * width + 2 * width
    return tables + shape.depth * layer + width**2 + 3 * width + shape.vocab


def t5_params(shape: Shape) -> int:
    """Parameters of a T5: as many layers of each side, its relative positions, and a tied head."""
    width = shape.width
    layers = shape.depth * ((12 + 16) * width**2 + (2 + 3) * width)
    return shape.vocab * width + layers + 2 * (width + 32 * shape.heads)


def rnn_params(shape: Shape, cell: str, biases: int = 4) -> int:
    """Parameters of an RNN: layers without norms, residuals or
    dropout, an untied head without bias.

    `biases` is how many biases of its width a layer has: one for each gate, and in a GRU one more
    for the candidate.
    """
    width = shape.width
    return 2 * shape.vocab * width + shape.depth * (2 * GATES[cell] * width**2 + biases * width)
