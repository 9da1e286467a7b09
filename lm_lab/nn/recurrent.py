"""Recurrent layers: the products of the inputs before the scan, those of the state in it, the
derivative by hand.

States change with tokens of segments 1, 2, ... alone: they begin anew where the segment does, and
padding (segment 0) leaves them as they are. States and gates are float32, products in the dtype of
the stream.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import rnn as cudnn

from lm_lab.nn.cells import CELLS, Cell, Name, State
from lm_lab.nn.flow import begins
from lm_lab.nn.linear import Kernel, Linear, bias_param, gather
from lm_lab.nn.sight import generating
from lm_lab.types import Inputs, UserError

Implementation = Literal["auto", "plain", "cudnn"]


class Breaks(NamedTuple):
    """Where states begin anew and where they rest, on the way through a row."""

    begins_LB1: Array  # bool
    rests_LB1: Array  # bool


class Course(NamedTuple):
    """What every layer asks of the segments: None where there are none, and every row is one whole."""

    ahead: Breaks | None
    back: Breaks | None  # the same for the way from the end to the beginning


class Segments(nn.Module):
    """The course of a call, for every layer at once; where the model generates, after earlier
    calls.
    """

    @nn.compact
    def __call__(self, inputs: Inputs) -> Course:
        segments_BL = inputs.segments
        if not generating(self):
            if segments_BL is None:
                return Course(None, None)
            none = jnp.zeros(segments_BL.shape[0], jnp.int32)
            back, _ = _breaks(segments_BL[:, ::-1], none)
            return Course(_breaks(segments_BL, none)[0], jax.tree.map(lambda x: x[::-1], back))
        segments_BL = jnp.ones_like(inputs.tokens) if segments_BL is None else segments_BL
        last = self.variable("cache", "last", jnp.zeros, segments_BL.shape[:1], jnp.int32)
        ahead, last.value = _breaks(segments_BL, last.value)
        return Course(ahead, None)


def _breaks(segments_BL: Array, before_B: Array) -> tuple[Breaks, Array]:
    """(the breaks, the last segment that is none of padding), `before` being that of what came
    earlier.
    """
    begins_BL, last_B = begins(segments_BL, before_B)
    return Breaks(begins_BL.T[..., None], (segments_BL == 0).T[..., None]), last_B


class Recurrent(nn.Module):
    """[B L D] -> [B L features] by one cell; `reverse` goes through each segment from its end.

    Where the model generates, the state is held in the cache. "auto" takes cuDNN's kernel where it
    can run: an LSTM with biases in float32, without segments, on an NVIDIA GPU. Raises UserError
    where "cudnn" cannot.
    """

    cell: Name
    features: int
    bias: bool
    kernel: Implementation
    reverse: bool = False

    @nn.compact
    def __call__(self, x_BLD: Array, course: Course) -> Array:
        size, cell = self.features, CELLS[self.cell]
        breaks = course.back if self.reverse else course.ahead
        remembers = generating(self) and not self.reverse
        state_kernel = Kernel(cell.gates * size, "expand", name="state")(size, x_BLD.dtype)
        biases = self._biases(cell)
        if self._is_fused(x_BLD.dtype, breaks) and not remembers:
            input_kernel = Kernel(cell.gates * size, "expand", name="input")(
                x_BLD.shape[-1], x_BLD.dtype
            )
            return fused(self.reverse, x_BLD, input_kernel, state_kernel, biases[0])
        # Time is the leading axis before the product, where the stream is narrower than the gates.
        x_LBG = Linear(cell.gates * size, "expand", name="input")(x_BLD.swapaxes(0, 1))
        start = tuple(jnp.zeros((x_BLD.shape[0], size), jnp.float32) for _ in range(cell.states))
        if remembers:
            held = self.variable("cache", "held", lambda: start)
            start = held.value
        # Where it stays split in the scan, XLA loses terms of the gradient on a mesh of three axes.
        state_kernel = gather(state_kernel)
        out: Any = recur(self.cell, self.reverse, x_LBG, state_kernel, biases, start, breaks)
        h_LBD, end = out
        if remembers:
            held.value = end
        return h_LBD.swapaxes(0, 1)

    def _is_fused(self, dtype: Any, breaks: Breaks | None) -> bool:
        can = self.cell == "lstm" and self.bias and dtype == jnp.float32 and breaks is None
        can &= jax.default_backend() == "gpu"
        if self.kernel == "cudnn" and not can:
            raise UserError(
                "config.model.recurrent_kernel cudnn needs an NVIDIA GPU, cell lstm with bias, "
                "float32 in "
                "config.precision.compute and rows without segments; choose auto"
            )
        return can and self.kernel != "plain"

    def _biases(self, cell: Cell) -> tuple[Array, ...]:
        """f32[gates * D], and f32[D] that a GRU's reset gate lets through; none without biases.

        An LSTM begins by forgetting little: the bias of its forget gate is 1 (Jozefowicz 2015).
        """
        if not self.bias:
            return ()
        size = self.features
        ones = jnp.zeros(cell.gates * size).at[size : 2 * size].set(self.cell == "lstm")
        gates = bias_param(self, cell.gates * size, "inner", init=lambda *_: ones)
        return (
            (gates, bias_param(self, size, "inner", "candidate_bias"))
            if self.cell == "gru"
            else (gates,)
        )


def fused(
    reverse: bool, x_BLD: Array, input_kernel: Array, state_kernel: Array, bias: Array
) -> Array:
    """h f32[B L D] of an LSTM by cuDNN, which has two biases for each gate, and cannot go backwards
    by itself.
    """
    (rows, length, inputs), size = x_BLD.shape, state_kernel.shape[0]
    parts = (input_kernel.T, state_kernel.T, bias.astype(jnp.float32), jnp.zeros(4 * size))
    weights = jnp.concatenate([part.ravel() for part in parts])
    zeros, lengths = jnp.zeros((1, rows, size)), jnp.full(rows, length, jnp.int32)
    way = slice(None, None, -1 if reverse else None)
    out: Any = cudnn.lstm(
        x_BLD[:, way], zeros, zeros, weights, lengths, inputs, size, 1, 0.0, False
    )
    return out[0][:, way]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recur(
    name: Name,
    reverse: bool,
    x_LBG: Array,
    kernel: Array,
    biases: tuple[Array, ...],
    start: State,
    breaks: Breaks | None,
) -> tuple[Array, State]:
    """(h [L B D] of every step, the state at the end) of gates x [L B G] and kernel [D, G]; `start`
    f32[B D] each.

    The backward scan makes the derivatives of the gates; that of the kernel is one product of them
    all.
    """
    return _forward(name, reverse, False, x_LBG, kernel, biases, start, breaks)[0]


def _blend(where: Array, one: State, other: State) -> State:
    return tuple(jnp.where(where, a, b) for a, b in zip(one, other))


def _zeros(state: State) -> State:
    return tuple(jnp.zeros_like(x) for x in state)


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def _offsets(biases: tuple[Array, ...], gates: int) -> tuple[Array | float, Array | float]:
    """What is added to the gates of the input, and to those of the state."""
    if not biases:
        return 0.0, 0.0
    own = biases[0].astype(jnp.float32)
    if len(biases) == 1:
        return own, 0.0
    return own, jnp.pad(biases[1].astype(jnp.float32), (gates - biases[1].shape[0], 0))


def _forward(
    name: Name,
    reverse: bool,
    keeps: bool,
    x_LBG: Array,
    kernel: Array,
    biases: tuple[Array, ...],
    start: State,
    breaks: Breaks | None,
) -> tuple[tuple[Array, State], Any]:
    """(what `recur` gives, what its derivative keeps of every step)."""
    cell, dtype = CELLS[name], x_LBG.dtype
    of_input, of_state = _offsets(biases, kernel.shape[1])

    def step(state: State, now: tuple[Array, Breaks | None]) -> tuple[State, Any]:
        x, mark = now
        begun = state if mark is None else _blend(mark.begins_LB1, _zeros(state), state)
        r = jnp.dot(begun[0].astype(dtype), kernel, preferred_element_type=jnp.float32)
        new, kept = cell.forward(x + of_input, r + of_state, begun)
        new = new if mark is None else _blend(mark.rests_LB1, begun, new)
        return new, (new[0].astype(dtype), (_cast(kept, dtype), begun[1:]) if keeps else None)

    end, (h_LBD, kept) = lax.scan(step, start, (x_LBG, breaks), reverse=reverse)
    return (h_LBD, end), kept


def _recur_forward(name: Name, reverse: bool, *args: Any) -> tuple[Any, Any]:
    _, kernel, biases, start, breaks = args
    (h_LBD, end), kept = _forward(name, reverse, True, *args)
    return (h_LBD, end), (h_LBD, kept, kernel, biases, start, breaks)


def _recur_backward(name: Name, reverse: bool, held: Any, dout: tuple[Array, State]) -> Any:
    h_LBD, kept, kernel, biases, start, breaks = held
    cell, turned, dtype = CELLS[name], kernel.T, h_LBD.dtype
    first = start[0][None].astype(dtype)
    before_LBD = jnp.concatenate([h_LBD[1:], first] if reverse else [first, h_LBD[:-1]])
    if breaks is not None:
        before_LBD = jnp.where(breaks.begins_LB1, 0, before_LBD)

    def step(dstate: State, now: Any) -> tuple[State, tuple[Array, Array | None]]:
        dh, h, (kept, others), mark = now
        dstate = (dstate[0] + dh, *dstate[1:])
        moved = dstate if mark is None else _blend(mark.rests_LB1, _zeros(dstate), dstate)
        dx, dr, dbegun = cell.backward(
            _cast(kept, jnp.float32), (h.astype(jnp.float32), *others), moved
        )
        dr = dr.astype(dtype)
        dbegun = (dbegun[0] + jnp.dot(dr, turned, preferred_element_type=jnp.float32), *dbegun[1:])
        if mark is not None:
            dbegun = _blend(mark.begins_LB1, _zeros(dbegun), _blend(mark.rests_LB1, dstate, dbegun))
        return dbegun, (dx.astype(dtype), dr if name == "gru" else None)

    steps = (dout[0], before_LBD, kept, breaks)
    dstart, (dx_LBG, dr_LBG) = lax.scan(step, dout[1], steps, reverse=not reverse)
    dr_LBG = dx_LBG if dr_LBG is None else dr_LBG
    dkernel = lax.dot_general(before_LBD, dr_LBG, (((0, 1), (0, 1)), ((), ())))
    sources = (dx_LBG, dr_LBG[..., -h_LBD.shape[-1] :])
    dbiases = tuple(
        source.astype(jnp.float32).sum((0, 1)).astype(bias.dtype)
        for source, bias in zip(sources, biases)
    )
    return dx_LBG, dkernel, dbiases, dstart, None


recur.defvjp(_recur_forward, _recur_backward)
