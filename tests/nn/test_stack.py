import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from lm_lab.engine.sharding import unbox
from lm_lab.nn.linear import Linear
from lm_lab.nn.stack import repeat
from tests.tiny import ROUNDING, distance


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, shift):
        return jnp.tanh(Linear(8, "expand", name="mix")(x)) + shift, None


def built(depth, scan, remat="none"):
    return repeat(Block, depth, scan=scan, remat=remat)()


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dropout(0.5, deterministic=False)(jnp.ones_like(x)), None


X = jax.random.normal(jax.random.key(1), (2, 8))


@pytest.mark.parametrize("scan", [False, True])
def test_layers_differ_and_are_applied_in_order(scan):
    stack = built(3, scan)
    params = unbox(jax.jit(stack.init)(jax.random.key(0), X, 0.1)["params"])
    kernels = params["mix"]["kernel"]
    assert kernels.shape == (3, 8, 8)
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 3
    wanted = X
    for kernel in kernels:
        wanted = jnp.tanh(wanted @ kernel) + 0.1
    assert jnp.allclose(stack.apply({"params": params}, X, 0.1)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("remat, products, tanhs", [("none", 3, 1), ("full", 4, 2), ("dots", 3, 2)])
def test_the_backward_pass_computes_again_what_the_policy_says(remat, products, tanhs):
    stack = built(3, True, remat)
    params = unbox(jax.eval_shape(lambda: stack.init(jax.random.key(0), X, 0.1))["params"])

    def loss(params, x):
        return stack.apply({"params": params}, x, 0.1)[0].sum()

    program = jax.jit(jax.grad(loss, (0, 1))).lower(params, X).as_text()
    assert program.count("stablehlo.dot_general ") == products  # forward, and two transposes
    assert program.count("stablehlo.tanh ") == tanhs


def test_layers_drop_features_of_their_own():
    total, _ = repeat(Dropping, 3, scan=True, remat="none")().apply(
        {}, jnp.zeros(100), rngs={"dropout": jax.random.key(0)}
    )
    assert set(total.tolist()) == {0.0, 2.0, 4.0, 6.0}


class Summing(nn.Module):
    """Adds up what it was given, with what it was given before."""

    @nn.compact
    def __call__(self, x):
        total = self.variable("cache", "total", jnp.zeros_like, x)
        total.value += Linear(8, "expand", name="mix")(x)
        return jnp.tanh(total.value), None


def test_unrolled_layers_hold_caches_of_their_own_and_go_on_as_scanned_ones():
    scanned, unrolled = (repeat(Summing, 11, scan=scan, remat="none")() for scan in (True, False))
    params = unbox(jax.jit(scanned.init)(jax.random.key(0), X)["params"])
    stacked, apart = {}, {}
    for call in range(3):
        (wanted, _), stacked = scanned.apply(
            {"params": params, **stacked}, X + call, mutable=["cache"]
        )
        (found, _), apart = unrolled.apply({"params": params, **apart}, X + call, mutable=["cache"])
        assert distance(found, wanted) < ROUNDING
    assert {layer: cache["total"].shape for layer, cache in apart["cache"].items()} == {
        f"layer_{index}": X.shape for index in range(11)
    }
    for index in range(11):
        assert (
            distance(apart["cache"][f"layer_{index}"]["total"], stacked["cache"]["total"][index])
            < ROUNDING
        )
