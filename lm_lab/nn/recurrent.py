"""Recurrent layers: the inputs are multiplied before the scan, the state inside it, and the
derivative is written by hand.

The state is reset where a segment (1, 2, ...) begins; padding (segment 0) does not change it.
States and gates are float32, products in the dtype of the stream.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import rnn as cudnn

from lm_lab.nn.cache import is_decoding
from lm_lab.nn.cells import CELLS, Cell, Name, State
from lm_lab.nn.fused import under_vmap
from lm_lab.nn.linear import Kernel, Linear, bias_param, gather, kernel_gradient, uniform
from lm_lab.nn.segments import SegmentInfo
from lm_lab.nn.splits import by_rows, is_split
from lm_lab.types import UserError

Implementation = Literal["auto", "plain", "cudnn"]


class Marks(NamedTuple):
    """Where the state of a recurrence is reset to zero, and where padding leaves it unchanged."""

    resets_LB1: Array  # bool
    padding_LB1: Array  # bool


class Recurrent(nn.Module):
    """[B L D] -> [B L features] by one cell; `reverse` goes through each segment from its end.

    While decoding, the state is in the cache. "auto" takes cuDNN's kernel where it
    can run: an LSTM with biases in float32, without segments, on an NVIDIA GPU. Raises UserError
    where "cudnn" cannot.
    """

    cell: Name
    features: int
    bias: bool
    kernel: Implementation
    reverse: bool = False
    limit: float | None = None  # parameters begin from U(-limit, limit); None: as the bricks do

    @nn.compact
    def __call__(self, x_BLD: Array, segments: SegmentInfo) -> Array:
        if is_split("length"):
            raise UserError(
                f"config.mesh.sequence: a step of {self.cell} needs the state before it, so that a "
                "row cannot be split; set it to 1"
            )
        size, cell = self.features, CELLS[self.cell]
        marks = self._marks(segments)
        uses_cache = is_decoding(self) and not self.reverse
        gates = (cell.gates * size, "expand")
        state_kernel = Kernel(*gates, part="recurrent", limit=self.limit, name="state")(
            size, x_BLD.dtype
        )
        biases = self._biases(cell)
        if self._is_fused(x_BLD.dtype, marks) and not uses_cache:
            input_kernel = Kernel(*gates, part="recurrent", limit=self.limit, name="input")(
                x_BLD.shape[-1], x_BLD.dtype
            )
            return fused(self.reverse, x_BLD, input_kernel, state_kernel, biases[0])
        # Time becomes the leading axis before the product, as the stream is narrower than the
        # gates.
        x_LBG = Linear(*gates, part="recurrent", limit=self.limit, rows=1, name="input")(
            x_BLD.swapaxes(0, 1)
        )
        start = tuple(jnp.zeros((x_BLD.shape[0], size), jnp.float32) for _ in range(cell.states))
        cached = None
        if uses_cache:
            cached = self.variable("cache", "carry", lambda: start)
            start = cached.value
        # Whole on every device: if it is sharded inside the scan, XLA loses terms of the gradient
        # on a mesh of three axes.
        state_kernel = gather(state_kernel)
        out: Any = recur(self.cell, self.reverse, x_LBG, state_kernel, biases, start, marks)
        h_LBD, end = out
        if cached is not None:
            cached.value = end
        return h_LBD.swapaxes(0, 1)

    def _marks(self, segments: SegmentInfo) -> Marks | None:
        """Resets and padding in the layout of the scan, [L B 1]; None without segments."""
        resets_BL = segments.reverse_resets_BL if self.reverse else segments.resets_BL
        if segments.ids_BL is None or segments.padding_BL is None or resets_BL is None:
            return None
        return Marks(resets_BL.T[..., None], segments.padding_BL.T[..., None])

    def _is_fused(self, dtype: Any, marks: Marks | None) -> bool:
        can = self.cell == "lstm" and self.bias and dtype == jnp.float32 and marks is None
        # Under the vmap of stages it would be the plain recurrence.
        can &= jax.default_backend() == "gpu" and not is_split("stage")
        if self.kernel == "cudnn" and not can:
            raise UserError(
                "config.model.recurrent_kernel cudnn needs an NVIDIA GPU, cell lstm with bias, "
                "float32 in config.precision.compute, rows without segments and no "
                "config.mesh.pipeline; choose auto"
            )
        return can and self.kernel != "plain"

    def _biases(self, cell: Cell) -> tuple[Array, ...]:
        """The biases of the gates f32[gates * D], and for a GRU f32[D] of the candidate, which the
        reset gate multiplies; () without biases.

        The bias of an LSTM's forget gate starts at 1, so that it forgets little at first
        (Jozefowicz 2015).
        """
        if not self.bias:
            return ()
        size = self.features
        ones = jnp.zeros(cell.gates * size).at[size : 2 * size].set(self.cell == "lstm")
        uniform_init = None if self.limit is None else uniform(self.limit)
        make_bias = partial(bias_param, self, axis="inner", part="recurrent")
        gates = make_bias(features=cell.gates * size, init=uniform_init or (lambda *_: ones))
        if self.cell != "gru":
            return (gates,)
        zeros = uniform_init or nn.initializers.zeros
        return gates, make_bias(features=size, name="candidate_bias", init=zeros)


def fused(
    reverse: bool, x_BLD: Array, input_kernel: Array, state_kernel: Array, bias: Array
) -> Array:
    """h f32[B L D] of an LSTM by cuDNN, which has two biases for each gate (one is set to 0) and no
    backward direction. On a mesh each device calls it for its own rows.

    Under vmap it is the plain recurrence: cuDNN takes one member's weights in a call, and the steps
    of small members one after another would take longer than one step of all.
    """
    plain = jax.vmap(partial(_plain, reverse))
    run = under_vmap(partial(_cudnn, reverse), plain)
    return by_rows(run, x_BLD, input_kernel, state_kernel, bias.astype(jnp.float32))


def _cudnn(
    reverse: bool, x_BLD: Array, input_kernel: Array, state_kernel: Array, bias: Array
) -> Array:
    (rows, length, inputs), size = x_BLD.shape, state_kernel.shape[0]
    arrays = (input_kernel.T, state_kernel.T, bias, jnp.zeros(4 * size))
    weights = jnp.concatenate([array.ravel() for array in arrays])
    zeros, lengths = jnp.zeros((1, rows, size)), jnp.full(rows, length, jnp.int32)
    time_order = slice(None, None, -1 if reverse else None)
    out: Any = cudnn.lstm(
        x_BLD[:, time_order], zeros, zeros, weights, lengths, inputs, size, 1, 0.0, False
    )
    return out[0][:, time_order]


def _plain(
    reverse: bool, x_BLD: Array, input_kernel: Array, state_kernel: Array, bias: Array
) -> Array:
    zeros = jnp.zeros((len(x_BLD), len(state_kernel)))
    gates_LBG = x_BLD.swapaxes(0, 1) @ input_kernel
    out: Any = recur(
        "lstm", reverse, gates_LBG, gather(state_kernel), (bias,), (zeros, zeros), None
    )
    return out[0].swapaxes(0, 1)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recur(
    name: Name,
    reverse: bool,
    x_LBG: Array,
    kernel: Array,
    biases: tuple[Array, ...],
    start: State,
    marks: Marks | None,
) -> tuple[Array, State]:
    """(h [L B D] of every step, the state at the end) of gates x [L B G] and kernel [D, G]; `start`
    f32[B D] each.

    The backward scan computes the derivatives of the gates; the kernel's derivative is one product
    over all steps.
    """
    return _forward(name, reverse, False, x_LBG, kernel, biases, start, marks)[0]


def _blend(condition: Array, if_true: State, if_false: State) -> State:
    return tuple(jnp.where(condition, a, b) for a, b in zip(if_true, if_false))


def _zeros(state: State) -> State:
    return tuple(jnp.zeros_like(x) for x in state)


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def _gate_biases(biases: tuple[Array, ...], gates: int) -> tuple[Array | float, Array | float]:
    """(the biases of the gates of the input, those of the gates of the state)."""
    if not biases:
        return 0.0, 0.0
    of_input = biases[0].astype(jnp.float32)
    if len(biases) == 1:
        return of_input, 0.0
    return of_input, jnp.pad(biases[1].astype(jnp.float32), (gates - biases[1].shape[0], 0))


def _forward(
    name: Name,
    reverse: bool,
    keeps: bool,
    x_LBG: Array,
    kernel: Array,
    biases: tuple[Array, ...],
    start: State,
    marks: Marks | None,
) -> tuple[tuple[Array, State], Any]:
    """(what `recur` gives, what its derivative keeps of every step)."""
    cell, dtype = CELLS[name], x_LBG.dtype
    input_bias, state_bias = _gate_biases(biases, kernel.shape[1])

    def step(state: State, inputs: tuple[Array, Marks | None]) -> tuple[State, Any]:
        input_gates, mark = inputs
        reset_state = state if mark is None else _blend(mark.resets_LB1, _zeros(state), state)
        state_gates = jnp.dot(
            reset_state[0].astype(dtype), kernel, preferred_element_type=jnp.float32
        )
        next_state, residuals = cell.forward(
            input_gates + input_bias, state_gates + state_bias, reset_state
        )
        next_state = (
            next_state if mark is None else _blend(mark.padding_LB1, reset_state, next_state)
        )
        return next_state, (
            next_state[0].astype(dtype),
            (_cast(residuals, dtype), reset_state[1:]) if keeps else None,
        )

    end, (h_LBD, residuals) = lax.scan(step, start, (x_LBG, marks), reverse=reverse)
    return (h_LBD, end), residuals


def _recur_forward(name: Name, reverse: bool, *args: Any) -> tuple[Any, Any]:
    _, kernel, biases, start, marks = args
    (h_LBD, end), cell_residuals = _forward(name, reverse, True, *args)
    return (h_LBD, end), (h_LBD, cell_residuals, kernel, biases, start, marks)


def _recur_backward(name: Name, reverse: bool, residuals: Any, dout: tuple[Array, State]) -> Any:
    h_LBD, cell_residuals, kernel, biases, start, marks = residuals
    cell, kernel_T, dtype = CELLS[name], kernel.T, h_LBD.dtype
    start_h = start[0][None].astype(dtype)
    before_LBD = jnp.concatenate([h_LBD[1:], start_h] if reverse else [start_h, h_LBD[:-1]])
    if marks is not None:
        before_LBD = jnp.where(marks.resets_LB1, 0, before_LBD)

    def step(dstate: State, inputs: Any) -> tuple[State, tuple[Array, Array | None]]:
        dh, h, (cell_residuals, other_states), mark = inputs
        dstate = (dstate[0] + dh, *dstate[1:])
        dnext = dstate if mark is None else _blend(mark.padding_LB1, _zeros(dstate), dstate)
        dx, dr, dreset = cell.backward(
            _cast(cell_residuals, jnp.float32), (h.astype(jnp.float32), *other_states), dnext
        )
        dr = dr.astype(dtype)
        dreset = (
            dreset[0] + jnp.dot(dr, kernel_T, preferred_element_type=jnp.float32),
            *dreset[1:],
        )
        if mark is not None:
            dreset = _blend(
                mark.resets_LB1, _zeros(dreset), _blend(mark.padding_LB1, dstate, dreset)
            )
        return dreset, (dx.astype(dtype), dr if name == "gru" else None)

    steps = (dout[0], before_LBD, cell_residuals, marks)
    dstart, (dx_LBG, dr_LBG) = lax.scan(step, dout[1], steps, reverse=not reverse)
    dr_LBG = dx_LBG if dr_LBG is None else dr_LBG
    dkernel = kernel_gradient(before_LBD, dr_LBG)
    dgates = (dx_LBG, dr_LBG[..., -h_LBD.shape[-1] :])
    dbiases = tuple(
        dgate.astype(jnp.float32).sum((0, 1)).astype(bias.dtype)
        for dgate, bias in zip(dgates, biases)
    )
    return dx_LBG, dkernel, dbiases, dstart, None


recur.defvjp(_recur_forward, _recur_backward)
