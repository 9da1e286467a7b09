"""One step of a recurrence and its derivative, elementwise; the matrix products are in
nn/recurrent.py.

Arrays are f32[B ...]; gates of D features stand side by side.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

State = tuple[Array, ...]  # f32[B D] each: h, and an LSTM's c


class Cell(NamedTuple):
    """One step and its derivative. `residuals` are what the derivative reads beside the state
    before the step.
    """

    gates: int
    states: int
    # (gates of the input, gates of h, state) -> (next state, residuals)
    forward: Callable[[Array, Array, State], tuple[State, Any]]
    # (residuals, state, derivative by the next state) -> derivatives by forward's three arguments
    backward: Callable[[Any, State, State], tuple[Array, Array, State]]


def _lstm(input_gates: Array, state_gates: Array, state: State) -> tuple[State, Any]:
    """Gers 2000, without peepholes: gates in the order input, forget, candidate, output.

    sigmoid(x) = (1 + tanh(x / 2)) / 2 lets one tanh squash all gates before they are parted: XLA on
    a CPU makes one loop of it in the place of four (docs/speed.md).
    """
    _, c = state
    half = jnp.where(_is_candidate(c), 1.0, 0.5)
    gates = half * jnp.tanh(half * (input_gates + state_gates)) + (1 - half)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = f * c + i * g
    squashed = jnp.tanh(c)
    return (o * squashed, c), (gates, squashed)


def _lstm_backward(residuals: Any, state: State, dstate: State) -> tuple[Array, Array, State]:
    (h, c), (dh, dc), (gates, squashed) = state, dstate, residuals
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    dc += dh * o * (1 - squashed * squashed)
    dgates = jnp.concatenate([dc * g, dc * c, dc * i, dh * squashed], axis=-1)
    dx = dgates * jnp.where(_is_candidate(c), 1 - gates * gates, gates * (1 - gates))
    return dx, dx, (jnp.zeros_like(h), dc * f)


def _is_candidate(c: Array) -> Array:
    """Which of an LSTM's gates bool[4 D], for a state [B D], are the candidate, which is not a
    sigmoid.
    """
    return jnp.arange(4 * c.shape[-1]) // c.shape[-1] == 2


def _gru(input_gates: Array, state_gates: Array, state: State) -> tuple[State, Any]:
    """1406.1078 with the reset gate after the product, as cuDNN has it: gates reset, update,
    candidate.
    """
    (h,) = state
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (
        jnp.split(input_gates, 3, axis=-1),
        jnp.split(state_gates, 3, axis=-1),
    )
    reset, update = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    new = jnp.tanh(x_n + reset * h_n)
    return (new + update * (h - new),), (jnp.concatenate([reset, update, new], axis=-1), h_n)


def _gru_backward(residuals: Any, state: State, dstate: State) -> tuple[Array, Array, State]:
    (h,), (dh,), (gates, h_n) = state, dstate, residuals
    reset, update, candidate_h = jnp.split(gates, 3, axis=-1)
    dn = dh * (1 - update) * (1 - candidate_h * candidate_h)
    other_gates = (dn * h_n * reset * (1 - reset), dh * (h - candidate_h) * update * (1 - update))
    dx, dr = (jnp.concatenate([*other_gates, candidate], axis=-1) for candidate in (dn, dn * reset))
    return dx, dr, (dh * update,)


def _elman(
    squash: Callable[[Array], Array], input_gates: Array, state_gates: Array, state: State
) -> tuple[State, Any]:
    """Elman 1990."""
    del state
    h = squash(input_gates + state_gates)
    return (h,), h


def _elman_backward(
    slope: Callable[[Array], Array], residuals: Any, state: State, dstate: State
) -> tuple[Array, Array, State]:
    del state
    dx = dstate[0] * slope(residuals)
    return dx, dx, (jnp.zeros_like(dx),)


Name = Literal["lstm", "gru", "elman_tanh", "elman_relu"]
CELLS: dict[Name, Cell] = {
    "lstm": Cell(4, 2, _lstm, _lstm_backward),
    "gru": Cell(3, 1, _gru, _gru_backward),
    "elman_tanh": Cell(
        1, 1, partial(_elman, jnp.tanh), partial(_elman_backward, lambda h: 1 - h * h)
    ),
    "elman_relu": Cell(
        1, 1, partial(_elman, jax.nn.relu), partial(_elman_backward, lambda h: 1.0 * (h > 0))
    ),
}
