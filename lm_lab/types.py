"""The glossary of the project: shapes, the records that cross module borders, and the user's error.

One letter per axis, everywhere: B batch, L length, M memory length, D width, H heads, K head dim,
F feed-forward dim, V vocabulary, N layers, P population. An array's name ends in its shape: `x_BLD`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax import Array

PyTree = Any

Sums = Mapping[str, Array]
"""Sums and counts over targets, never means: {"nll": nats, "weight": targets, "bytes": UTF-8 bytes, ...}."""


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: the key or path, and the remedy."""


class Examples(NamedTuple):
    """Raw windows of the token store, as the loader gives them; S is what the objective asks for (causal: L + 1)."""

    tokens: Array  # i32[B S]
    bytes: Array  # f32[B S]: the UTF-8 bytes of text that each token stands for
    segments: Array | None = None  # i32[B S], 0 = padding; None: one unpadded segment a row


class Inputs(NamedTuple):
    """All that a model may see. Never the targets."""

    tokens: Array  # i32[B L]
    segments: Array | None = None  # i32[B L], 0 = padding; None: one unpadded segment a row
    positions: Array | None = None  # i32[B L]; None: 0 .. L-1
    context: Array | None = None  # i32[B M], the encoder's side


class Batch(NamedTuple):
    """What an objective makes of examples."""

    inputs: Inputs
    targets: Array  # i32[B L]
    weights: Array  # f32[B L]
    bytes: Array  # f32[B L]: the UTF-8 bytes that each target stands for


class Objective(NamedTuple):
    """What is learnt: two pure functions.

    prepare(key, examples) -> Batch; loss(logits f32[B L V], batch) -> Sums, with at least nll, weight and bytes.
    """

    prepare: Callable[[Array, Examples], Batch]
    loss: Callable[[Array, Batch], Sums]


class Hyper(NamedTuple):
    """Hyper-parameters that runs of one program may differ in: arrays, so that they can be vmapped."""

    seed: Array  # u32[]
    peak_rate: Array  # f32[]
    weight_decay: Array  # f32[]
    beta1: Array  # f32[]
    beta2: Array  # f32[]


class TrainState(NamedTuple):
    """Everything that a step reads and writes; with the batch of the same step, it decides the next state."""

    step: Array  # i32[]
    params: PyTree
    opt_state: PyTree
    hyper: Hyper


Step = Callable[[TrainState, Examples], tuple[TrainState, Sums]]
