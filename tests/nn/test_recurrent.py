import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn as cudnn

from lm_lab.engine.sharding import unbox
from lm_lab.nn import recurrent
from lm_lab.nn.cells import CELLS, Name
from lm_lab.nn.recurrent import Recurrent, recur
from lm_lab.nn.segments import SegmentInfo, Segments, resets
from lm_lab.types import Inputs, UserError
from tests.tiny import ROUNDING, distance

ROWS, LENGTH, SIZE, INPUTS = 2, 7, 4, 3
SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 2, 2], [0, 3, 3, 0, 3, 5, 0]])
RUNS = [
    (0, [0, 1, 2]),
    (0, [3, 4, 5, 6]),
    (1, [1, 2, 4]),
    (1, [5]),
]  # the places of each segment of each row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_row(cell, p, x):
    """h [L D] of one sequence x [L I], the papers' formulas in float64 with a loop over time and
    gates.
    """
    size = p["state"]["kernel"].shape[0]
    h, c, out = np.zeros(size), np.zeros(size), []
    for now in x:
        a, r = now @ p["input"]["kernel"], h @ p["state"]["kernel"]
        a = a + p["bias"] if "bias" in p else a
        if cell == "lstm":
            i, f, g, o = np.split(a + r, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif cell == "gru":
            reset, update = (
                sigmoid(a[:size] + r[:size]),
                sigmoid(a[size : 2 * size] + r[size : 2 * size]),
            )
            new = np.tanh(a[2 * size :] + reset * (r[2 * size :] + p.get("candidate_bias", 0)))
            h = (1 - update) * new + update * h
        else:
            h = {"elman_tanh": np.tanh, "elman_relu": lambda y: np.maximum(y, 0)}[cell](a + r)
        out.append(h)
    return np.array(out)


class Layer(nn.Module):
    cell: Name
    bias: bool = True
    reverse: bool = False

    @nn.compact
    def __call__(self, x_BLD, segments):
        info = Segments(reverse=self.reverse)(
            Inputs(jnp.zeros(x_BLD.shape[:2], jnp.int32), segments)
        )
        return Recurrent(self.cell, SIZE, self.bias, "plain", self.reverse, name="recurrent")(
            x_BLD, info
        )


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@functools.cache
def params_of(cell, bias=True):
    x = drawn(0, ROWS, LENGTH, INPUTS)
    params = jax.jit(lambda key: unbox(Layer(cell, bias).init(key, x, None)["params"]))(
        jax.random.key(0)
    )
    return jax.tree.map(
        lambda leaf: leaf + 0.3 * drawn(leaf.size, *leaf.shape), params
    )  # no bias is 0


def layer(cell, x, segments=None, **changes):
    params = params_of(cell, changes.get("bias", True))
    return jax.jit(lambda p, x: Layer(cell, **changes).apply({"params": p}, x, segments))(params, x)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "cell, bias", [*((cell, True) for cell in CELLS), ("lstm", False), ("gru", False)]
)
def test_a_layer_is_the_papers(cell, bias):
    x = drawn(0, ROWS, LENGTH, INPUTS)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params_of(cell, bias)["recurrent"])
    expected = [numpy_row(cell, p, np.asarray(row, np.float64)) for row in x]
    assert distance(layer(cell, x, bias=bias), np.array(expected)) < ROUNDING


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_segment_is_read_as_if_alone_and_padding_not_at_all(cell, reverse):
    x = drawn(0, ROWS, LENGTH, INPUTS)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params_of(cell)["recurrent"])
    out = layer(cell, x, SEGMENTS, reverse=reverse)
    way = slice(None, None, -1 if reverse else 1)
    for row, places in RUNS:
        alone = numpy_row(cell, p, np.asarray(x[row, np.array(places)], np.float64)[way])[way]
        assert distance(out[row, np.array(places)], alone) < ROUNDING
    noise = jnp.where(SEGMENTS[..., None] == 0, 9.0, x)
    real = np.asarray(SEGMENTS) > 0
    assert (layer(cell, noise, SEGMENTS, reverse=reverse)[real] == out[real]).all()


def naive(cell, x_LBG, kernel, biases, start, marks):
    """The recurrence in plain JAX, differentiated by JAX."""
    gates = [biases[0], jnp.pad(biases[1], (2 * SIZE, 0)) if len(biases) > 1 else 0.0]

    def step(state, now):
        x, mark = now
        begun = tuple(jnp.where(mark.resets_LB1, 0, s) for s in state)
        new, _ = CELLS[cell].forward(x + gates[0], begun[0] @ kernel + gates[1], begun)
        new = tuple(jnp.where(mark.padding_LB1, old, s) for old, s in zip(begun, new))
        return new, new[0]

    end, h = jax.lax.scan(step, start, (x_LBG, marks))
    return h, end


@pytest.mark.gpu
@pytest.mark.parametrize("cell", CELLS)
def test_the_written_derivative_is_that_of_jax(cell):
    gates, states = CELLS[cell].gates * SIZE, CELLS[cell].states
    biases = (drawn(3, gates), drawn(4, SIZE)) if cell == "gru" else (drawn(3, gates),)
    start = tuple(drawn(5 + index, ROWS, SIZE) for index in range(states))
    args = (drawn(1, LENGTH, ROWS, gates), drawn(2, SIZE, gates), biases, start)
    none = jnp.zeros(ROWS, jnp.int32)
    resets_BL, _ = resets(SEGMENTS, none)
    marks = recurrent.Marks(resets_BL.T[..., None], (SEGMENTS == 0).T[..., None])

    def total(run, *args):
        h, end = run(*args, marks)
        return (jnp.sin(3 * h) * drawn(9, *h.shape)).sum() + sum(jnp.cos(s).sum() for s in end)

    ours = jax.jit(
        jax.value_and_grad(
            lambda *a: total(functools.partial(recur, cell, False), *a), (0, 1, 2, 3)
        )
    )
    theirs = jax.jit(
        jax.value_and_grad(lambda *a: total(functools.partial(naive, cell), *a), (0, 1, 2, 3))
    )
    assert distance(ours(*args), theirs(*args)) < ROUNDING


def test_the_way_back_is_the_way_there_of_the_turned_row():
    x, turn = drawn(0, ROWS, LENGTH, INPUTS), slice(None, None, -1)
    params = params_of("lstm")

    def total(params, x, segments, reverse):
        out: Any = Layer("lstm", reverse=reverse).apply({"params": params}, x, segments)
        return (out * drawn(8, *out.shape)[:, turn if reverse else slice(None)]).sum()

    slope = jax.jit(jax.value_and_grad(total), static_argnums=3)
    there, back = (
        slope(params, x, SEGMENTS, False),
        slope(params, x[:, turn], SEGMENTS[:, turn], True),
    )
    assert distance(back, there) < ROUNDING


@pytest.mark.gpu
def test_half_precision_keeps_its_state_in_float32():
    x = drawn(0, 1, 300, INPUTS)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params_of("gru"))
    out = jax.jit(lambda p, x: Layer("gru").apply({"params": p}, x, None))(
        half, x.astype(jnp.bfloat16)
    )
    assert out.dtype == jnp.bfloat16
    # Weights, inputs and the operands of products are rounded to 2^-9; gates do not let the errors
    # of 300 steps add up.
    assert distance(out, layer("gru", x)) < 0.05


def reference(x, h_0, c_0, weights, lengths, *sizes):
    """What cuDNN's LSTM computes, by jax's reference."""
    inputs, size, layers, _, both = sizes
    unpacked = cudnn.unpack_lstm_weights(weights, inputs, size, layers, both)
    return cudnn.lstm_ref(x, h_0, c_0, *unpacked, lengths, *sizes)


@pytest.mark.gpu
def test_cudnn_is_given_the_weights_in_its_order(monkeypatch):
    """jax's reference of the kernel stands in for it where there is no GPU; on one, the kernel
    itself is run.
    """

    if jax.default_backend() != "gpu":
        monkeypatch.setattr(cudnn, "lstm", reference)
    x, p = drawn(0, ROWS, LENGTH, INPUTS), params_of("lstm")["recurrent"]
    for reverse in (False, True):
        out = recurrent.fused(reverse, x, p["input"]["kernel"], p["state"]["kernel"], p["bias"])
        assert distance(out, layer("lstm", x, reverse=reverse)) < (
            ROUNDING if jax.default_backend() == "cpu" else 2e-3
        )


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="is about machines without one")
def test_the_fused_kernel_is_refused_where_it_cannot_run():
    x = drawn(0, ROWS, LENGTH, INPUTS)
    with pytest.raises(
        UserError, match=r"config\.model\.recurrent_kernel cudnn needs an NVIDIA GPU"
    ):
        Recurrent("lstm", SIZE, True, "cudnn").init(jax.random.key(0), x, SegmentInfo(None, None))
