"""Cuts a text into windows such that every token is evaluated exactly once."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lm_lab.types import Examples, Sums

BATCHES = 8  # batches in one call of the compiled program


def windows(
    tokens: np.ndarray, bytes_of: np.ndarray, start: int, size: int, given: int
) -> Examples:
    """Windows [W S] of `size` tokens: the first `given` are context, the others are evaluated.

    Each token is evaluated in one window. The id `start` stands before the text; padding (segment
    0) before that and after the text. bytes_of: f32[vocab].
    """
    judged = size - given
    count = math.ceil(len(tokens) / judged)
    padded = np.zeros(given + count * judged, np.int32)
    padded[given - 1] = start
    padded[given : given + len(tokens)] = tokens
    there = np.zeros(len(padded), np.int32)
    there[given - 1 : given + len(tokens)] = 1
    places = np.arange(count)[:, None] * judged + np.arange(size)
    ids, segments = padded[places], there[places]
    return Examples(ids, bytes_of[ids] * segments, segments)  # type: ignore[arg-type]


def disjoint_windows(tokens: np.ndarray, bytes_of: np.ndarray, size: int) -> Examples:
    """Windows [W S] of `size` tokens without overlap, the last one padded
    (segment 0) at its end.
    """
    missing = -len(tokens) % size
    ids = np.pad(tokens, (0, missing)).astype(np.int32).reshape(-1, size)
    segments = np.pad(np.ones(len(tokens), np.int32), (0, missing)).reshape(-1, size)
    return Examples(ids, bytes_of[ids] * segments, segments)  # type: ignore[arg-type]


def add_up(
    evaluate: Callable[[Any, Examples], Sums], params: Any, rows: Examples, batch_size: int
) -> Mapping[str, float]:
    """The sums over all rows [W S], in float64, of an evaluation of (params, examples [n B S]).

    Rows of padding are added at the end, so that all calls have one shape and compile once.
    """
    part = BATCHES * batch_size
    missing = -len(rows.tokens) % part
    filled = jax.tree.map(lambda x: np.pad(x, ((0, missing), (0, 0))), rows)
    total: dict[str, float] = {}
    for first in range(0, len(filled.tokens), part):
        chunk = jax.tree.map(
            lambda x, i=first: x[i : i + part].reshape(BATCHES, batch_size, -1), filled
        )
        for name, value in jax.device_get(evaluate(params, chunk)).items():
            total[name] = total.get(name, 0.0) + float(value)
    return total
