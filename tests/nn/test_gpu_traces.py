"""Populations with the kernels of an NVIDIA GPU, on a machine without one: lowered for CUDA, with
the questions to the device answered here, and computed with references in place of the kernels.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn_attention
from jax.experimental import rnn

from lm_lab.engine import program, sharding
from lm_lab.nn import fused, recurrent
from lm_lab.nn.attention import attend
from tests.nn.test_attention import causal_mask
from tests.nn.test_recurrent import reference
from tests.tiny import ROUNDING, distance

MEMBERS, ROWS, LENGTH, SIZE = 3, 2, 8, 8
SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 2, 2, 2], [1, 2, 2, 2, 3, 3, 0, 0]])
CASES = ["plain", "segments", "relative", "both"]


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(MEMBERS, *shape)), jnp.float32)


def arrays_of(case):
    """Queries of 4 heads, keys and values of 2; a mask of each row; a bias that rows share."""
    qkv = [drawn(seed, ROWS, LENGTH, heads, SIZE) for seed, heads in enumerate((4, 2, 2))]
    masks = jnp.stack([causal_mask(LENGTH, SEGMENTS), *[causal_mask(LENGTH, SEGMENTS[::-1])] * 2])
    mask = masks if case in ("segments", "both") else None
    return (*qkv, drawn(3, 1, 4, LENGTH, LENGTH) if case in ("relative", "both") else None), mask


def slopes(attention, arrays, mask):
    """(a sum over outputs, its derivatives) of one member."""

    def total(arrays):
        q, k, v, bias = arrays
        return jnp.sin(3 * attention(q, k, v, mask, bias).astype(jnp.float32)).sum()

    return jax.value_and_grad(total)(arrays)


def kernel(q, k, v, mask, bias):
    return fused.cudnn(q, k, v, mask, bias, None, None, "causal")


def plain(q, k, v, mask, bias):
    return attend(q, k, v, mask, "plain", bias=bias)


@pytest.mark.parametrize("case", CASES)
def test_attention_of_all_members_is_one_call_on_a_gpu(case, monkeypatch):
    monkeypatch.setattr(cudnn_attention, "check_cudnn_version", lambda: 91_000)
    arrays, mask = arrays_of(case)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays)
    step = jax.jit(jax.vmap(partial(slopes, kernel))).trace(half, mask)
    text = step.lower(lowering_platforms=("cuda",)).as_text()
    # Forward and backward, each on the rows of all members.
    calls = [line for line in text.splitlines() if "custom_call @__cudnn$fmha" in line]
    assert len(calls) == 2
    assert all(f"tensor<{MEMBERS * ROWS}x{LENGTH}x4x{SIZE}xbf16>" in call for call in calls)


@pytest.mark.parametrize("length, calls", [(LENGTH, 2), (LENGTH - 1, 0)])
def test_packed_rows_of_odd_length_are_left_to_the_plain_kernel(length, calls, monkeypatch):
    monkeypatch.setattr(cudnn_attention, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    (q, k, v, _), mask = arrays_of("segments")
    half = [x[0, :, :length].astype(jnp.bfloat16) for x in (q, k, v)]
    mask = mask[0, :, :, :length, :length]
    run = jax.grad(lambda q: attend(q, *half[1:], mask, "auto").astype(jnp.float32).sum())
    assert str(jax.make_jaxpr(run)(half[0])).count("dot_product_attention_") == calls


def stand_in(attention):
    """JAX's own attention, whose derivative keeps what cuDNN's does: arrays and output."""

    def run(*arrays, implementation, **options):
        value = partial(attention, **options)
        run = jax.custom_vjp(value)
        run.defvjp(
            lambda *arrays: (value(*arrays), (arrays, value(*arrays))),
            # NaN if the output that was kept is another
            lambda kept, dout: jax.vjp(value, *kept[0])[1](
                jnp.where(abs(value(*kept[0]) - kept[1]) < ROUNDING, dout, jnp.nan)
            ),
        )
        return run(*arrays)

    return run


@pytest.mark.parametrize("case", CASES)
def test_a_population_attends_as_its_members_alone(case, monkeypatch):
    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in(jax.nn.dot_product_attention))
    arrays, mask = arrays_of(case)

    @jax.jit
    def both_ways(arrays, mask):
        alone = [
            slopes(attention, *jax.tree.map(lambda x: x[0], (arrays, mask)))
            for attention in (kernel, plain)
        ]
        return (
            jax.vmap(partial(slopes, kernel))(arrays, mask),
            jax.vmap(partial(slopes, plain))(arrays, mask),
            alone,
        )

    found, expected, alone = both_ways(arrays, mask)
    assert distance(found, expected) < ROUNDING
    assert distance(alone[0], alone[1]) < ROUNDING


def lstm(run, arrays):
    return jax.value_and_grad(lambda arrays: jnp.sin(3 * run(*arrays)).sum())(arrays)


LSTM = (5, 4 * SIZE)  # inputs, gates


def lstm_arrays():
    inputs, gates = LSTM
    shapes = (ROWS, LENGTH, inputs), (inputs, gates), (SIZE, gates), (gates,)
    return tuple(drawn(seed, *shape) for seed, shape in enumerate(shapes))


def test_a_population_of_lstms_lowers_for_a_gpu(monkeypatch):
    sizes = "compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(rnn.gpu_rnn, sizes, lambda *_: (0, 40), raising=False)
    arrays = lstm_arrays()
    run = partial(lstm, partial(recurrent.fused, False))
    alone = str(jax.make_jaxpr(run)(jax.tree.map(lambda x: x[0], arrays)))
    assert alone.count("rnn_fwd[") == alone.count("rnn_bwd[") == 1
    text = jax.jit(jax.vmap(run)).trace(arrays).lower(lowering_platforms=("cuda",)).as_text()
    assert "custom_call" not in text


@pytest.mark.parametrize("reverse", [False, True])
def test_a_population_of_lstms_is_its_members_alone(reverse, monkeypatch):
    monkeypatch.setattr(rnn, "lstm", reference)
    run = partial(lstm, partial(recurrent.fused, reverse))

    @jax.jit
    def both_ways(arrays):
        return jax.vmap(run)(arrays), jax.lax.map(run, arrays)

    assert distance(*both_ways(lstm_arrays())) < ROUNDING


def test_a_deterministic_program_is_compiled_by_options_that_xla_knows(monkeypatch):
    mesh, add = jax.make_mesh((1,), ("data",)), jax.jit(jnp.add)

    def compiled():
        return program.Compiled(add, mesh, deterministic=True)(jnp.ones(2), jnp.ones(2)).sum()

    monkeypatch.setattr(program, "EXACT", {"xla_gpu_no_such_option": True})
    assert compiled() == 4  # on a CPU there are none
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        compiled()
    monkeypatch.undo()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiled() == 4


def test_devices_call_the_lstm_for_their_own_rows(monkeypatch):
    """XLA would gather all rows for a call that it cannot divide."""
    seen, plain_lstm = [], recurrent._plain

    def own(reverse, x, *weights):
        seen.append(len(x))
        return plain_lstm(reverse, x, *weights)

    monkeypatch.setattr(recurrent, "_cudnn", own)
    arrays = jax.tree.map(lambda x: x[0], lstm_arrays())
    run = jax.jit(partial(lstm, partial(recurrent.fused, True)))
    expected = run(arrays)
    with sharding.use(sharding.make_mesh(sharding.Config(data=ROWS))):
        run = jax.jit(partial(lstm, partial(recurrent.fused, True)))
        assert distance(run(arrays), expected) < ROUNDING
    assert set(seen) == {ROWS, 1}
