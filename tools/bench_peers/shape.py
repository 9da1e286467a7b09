"""What all contenders of the training benchmark share: the model's shape and the optimizer's settings.

A pre-norm decoder of learned positions, LayerNorm without bias, heads, GELU (tanh form), no biases, tied head;
float32; global-norm clipping, then AdamW with linear warm-up and cosine decay. No jax and no torch here.
"""

from typing import NamedTuple

VOCAB = 512
PEAK_RATE, WARMUP_STEPS, STEPS, FINAL_FRACTION = 1e-3, 100, 10_000, 0.1
BETA1, BETA2, EPSILON, WEIGHT_DECAY, CLIP_NORM = 0.9, 0.99, 1e-8, 0.1, 1.0


class Shape(NamedTuple):
    width: int
    depth: int
    heads: int
    length: int
    batch_size: int
    steps: int  # that a contender takes at a turn: a few seconds of work

    @property
    def tokens(self) -> int:
        """Targets of a turn."""
        return self.batch_size * self.length * self.steps

    @property
    def params(self) -> int:
        """Parameters in all; every contender must have as many."""
        norms = (2 * self.depth + 1) * self.width
        return (VOCAB + self.length) * self.width + 12 * self.depth * self.width**2 + norms


SHAPES = {
    "128x4": Shape(width=128, depth=4, heads=4, length=128, batch_size=32, steps=20),
    "384x6": Shape(width=384, depth=6, heads=6, length=256, batch_size=16, steps=10),
}


def bert_params(shape: Shape) -> int:
    """Parameters of a BERT of the shape, with two kinds of segments and a tied head."""
    width = shape.width
    layer = 12 * width**2 + 13 * width  # four vectors of norms, four of attention, five of the feed-forward layer
    tables = (VOCAB + shape.length + 2) * width + 2 * width
    return tables + shape.depth * layer + width**2 + 3 * width + VOCAB


def t5_params(shape: Shape) -> int:
    """Parameters of a T5 of the shape: as many layers of each side, its relative positions, and a tied head."""
    width = shape.width
    layers = shape.depth * ((12 + 16) * width**2 + (2 + 3) * width)
    return VOCAB * width + layers + 2 * (width + 32 * shape.heads)
