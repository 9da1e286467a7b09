import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.engine.sharding import unbox
from lm_lab.nn.feed_forward import FeedForward, gelu
from tests.tiny import ROUNDING, distance, normal


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14)])
def test_gelu_and_its_written_derivative_are_those_of_jax(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.linspace(-12, 12, 4001, dtype=dtype)
        theirs = jax.vmap(jax.value_and_grad(jax.nn.gelu))(x)
        ours = jax.vmap(jax.value_and_grad(gelu))(x)
        for one, other in zip(ours, theirs):
            assert one.dtype == dtype
            np.testing.assert_allclose(
                one, other, rtol=0, atol=tolerance * 12
            )  # of the largest value


def test_gelu_of_half_precision_is_half_precision():
    value, slope = jax.value_and_grad(gelu)(jnp.bfloat16(1.5))
    assert value.dtype == slope.dtype == jnp.bfloat16


@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_layer_is_the_formula(activation):
    layer = FeedForward(24, activation, 1.0)
    x = normal(2, 5, 8)
    params = unbox(jax.jit(layer.init)(jax.random.key(0), x)["params"])
    kernel = {name: np.asarray(leaf["kernel"], np.float64) for name, leaf in params.items()}
    up = np.asarray(x, np.float64) @ kernel["up"]
    if activation == "gelu":
        hidden = up * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
    else:
        gate = np.asarray(x, np.float64) @ kernel["gate"]
        hidden = gate / (1 + np.exp(-gate)) * up
    out = layer.apply({"params": params}, x)
    assert distance(out, hidden @ kernel["down"]) < ROUNDING
