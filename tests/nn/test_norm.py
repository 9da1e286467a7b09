import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.nn.norm import Norm
from tests.tiny import ROUNDING, distance

X = np.random.default_rng(0).normal(3.0, 5.0, (2, 4, 16))


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_norm_is_the_formula(kind):
    scale = np.linspace(0.5, 2.0, 16)
    out = Norm(kind).apply({"params": {"scale": jnp.float32(scale)}}, jnp.float32(X))
    centred = X - X.mean(-1, keepdims=True) if kind == "layer" else X
    assert (
        distance(out, scale * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6))
        < ROUNDING
    )


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_the_written_derivative_is_that_of_the_formula(kind):
    def formula(x, scale):
        centred = x - x.mean(-1, keepdims=True) if kind == "layer" else x
        return scale * centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)

    scale, weights = jnp.linspace(0.5, 2.0, 16), jax.random.normal(jax.random.key(2), X.shape)
    gradients = [
        jax.grad(lambda x, scale, norm=norm: (norm(x, scale) * weights).sum(), (0, 1))(
            jnp.float32(X), scale
        )
        for norm in (formula, lambda x, scale: Norm(kind).apply({"params": {"scale": scale}}, x))
    ]
    for theirs, ours in zip(*gradients):
        assert distance(ours, theirs) < ROUNDING


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_gradient_of_a_half_precision_scale_is_summed_in_float32(kind):
    params = {"params": {"scale": jnp.ones(2, jnp.bfloat16)}}
    x = jnp.tile(jnp.bfloat16([-1.0, 1.0]), (8192, 1))
    gradient = jax.grad(lambda params: Norm(kind).apply(params, x)[:, 1].astype(jnp.float32).sum())(
        params
    )
    assert gradient["params"]["scale"][1] == 8192


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_statistics_of_a_half_precision_stream_are_float32(kind):
    params = {"params": {"scale": jnp.ones(4096)}}
    x = jax.random.normal(jax.random.key(0), (1, 4096)).astype(jnp.bfloat16)
    out = Norm(kind).apply(params, x)
    assert out.dtype == jnp.bfloat16
    assert (
        distance(out, Norm(kind).apply(params, x.astype(jnp.float32))) <= 2**-8
    )  # one rounding, of the result
