"""FLOPs of one matrix product or convolution: two for each multiply-add of its equation."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn


def dot(eqn: JaxprEqn) -> int:
    """2 M N K a batch entry: the size of the result times those of the contracted axes."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return 2 * prod(_shape(eqn.outvars[0])) * _take(_shape(eqn.invars[0]), contracted)


def ragged_dot(eqn: JaxprEqn) -> int:
    """Counts each row of the left side times one group's matrix.

    Rows past the last group count as if they had a matrix too.
    """
    ragged = eqn.params["ragged_dot_dimension_numbers"]
    (_, contracted), (_, batch) = ragged.dot_dimension_numbers
    lhs, rhs = (_shape(atom) for atom in eqn.invars[:2])
    shared = {*contracted, *batch, *ragged.rhs_group_dimensions}
    return 2 * prod(lhs) * _take(rhs, set(range(len(rhs))) - shared)


def convolution(eqn: JaxprEqn) -> int:
    """Counts products with real inputs, not with padding or with the holes of a dilation.

    XLA leaves those out too. So the two convolutions of a backward pass cost what the forward one
    costs, at any stride.
    """
    params, axes = eqn.params, eqn.params["dimension_numbers"]
    lhs, rhs, out = (_shape(atom) for atom in (*eqn.invars, *eqn.outvars))
    spatial = prod(
        _meetings(
            lhs[lhs_axis],
            rhs[rhs_axis],
            out[out_axis],
            stride,
            padding[0],
            lhs_dilation,
            rhs_dilation,
        )
        for lhs_axis, rhs_axis, out_axis, stride, padding, lhs_dilation, rhs_dilation in zip(
            axes.lhs_spec[2:],
            axes.rhs_spec[2:],
            axes.out_spec[2:],
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    channels = rhs[axes.rhs_spec[1]]  # of one feature group
    return 2 * spatial * channels * _take(out, axes.out_spec[:2])


RULES: dict[str, Callable[[JaxprEqn], int]] = {
    "dot_general": dot,
    "ragged_dot_general": ragged_dot,
    "conv_general_dilated": convolution,
}


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _take(shape: tuple[int, ...], axes: Iterable[int]) -> int:
    return prod(shape[axis] for axis in axes)


def _meetings(
    inputs: int, kernel: int, outputs: int, stride: int, before: int, hole: int, spread: int
) -> int:
    """Pairs (output, kernel position) along one axis that meet a real input."""
    starts = np.arange(outputs) * stride - before
    at = (starts + tap * spread for tap in range(kernel))
    return sum(int(np.sum((x >= 0) & (x <= (inputs - 1) * hole) & (x % hole == 0))) for x in at)
