"""FLOPs of a training token as other papers count them, by named conventions.

A run records them beside the count of `flops.py`, which they never replace.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Geometry(NamedTuple):
    """The sizes from which the conventions count. Without attention, depth and heads are 0."""

    body: int  # matrix weights of the layers: 12 N D^2 for the classical transformer
    head: int  # matrix weights of the readout, V D, tied or not
    length: int  # L, tokens a sequence
    depth: int = 0  # N, layers with attention
    heads: int = 0  # H
    head_dim: int = 0  # K


def geometry(
    parameters: Mapping[str, int], length: int, depth: int = 0, heads: int = 0, head_dim: int = 0
) -> Geometry:
    """The geometry of a model.

    `parameters` are those of `parameters.by_group`; the rest is the shape of its attention.
    """
    body = parameters["matmul_body"]
    return Geometry(body, parameters["matmul"] - body, length, depth, heads, head_dim)


class Convention(NamedTuple):
    """A named way to count the FLOPs of a token."""

    formula: str  # shown to people: L layers, d width, H heads, Q head dim, T length, V vocabulary
    per_token: Callable[[Geometry], int]  # forward and backward; Python integers never overflow


def _attention(shape: Geometry) -> int:
    return 12 * shape.depth * shape.heads * shape.head_dim * shape.length


CONVENTIONS: dict[str, Convention] = {
    "6N_body": Convention(
        "6 N, N the matrix weights of the layers, 12 L d^2 (Kaplan 2020, 2001.08361)",
        lambda shape: 6 * shape.body,
    ),
    "6N_matmul": Convention(
        "6 N, N all matrix weights, 12 L d^2 + V d", lambda shape: 6 * (shape.body + shape.head)
    ),
    "palm": Convention(
        "6 N + 12 L H Q T, N all matrix weights, full attention (PaLM appendix B, 2204.02311)",
        lambda shape: 6 * (shape.body + shape.head) + _attention(shape),
    ),
    "causal": Convention(
        "6 N + 6 L H Q T, N all matrix weights, attention halved by the causal mask",
        lambda shape: 6 * (shape.body + shape.head) + _attention(shape) // 2,
    ),
}


def per_token(shape: Geometry) -> dict[str, int]:
    """FLOPs a training token by every convention."""
    return {name: convention.per_token(shape) for name, convention in CONVENTIONS.items()}


def transformer_body(width: int, depth: int) -> int:
    """12 N D^2: query, key, value, out, and a feed-forward layer of 4 D."""
    return 12 * depth * width**2


def lstm_body(width: int, depth: int, inputs: int | None = None) -> int:
    """Four gates of D (D_in + D) a layer; `inputs` is D_in of the first (None: the width)."""
    return _gated(4, width, depth, inputs)


def gru_body(width: int, depth: int, inputs: int | None = None) -> int:
    """Three gates of D (D_in + D) a layer; `inputs` is D_in of the first (None: the width)."""
    return _gated(3, width, depth, inputs)


def _gated(gates: int, width: int, depth: int, inputs: int | None) -> int:
    first = (width if inputs is None else inputs) + width
    return gates * width * (first + (depth - 1) * 2 * width)
