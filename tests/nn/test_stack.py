from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from lm_lab.engine.sharding import unbox
from lm_lab.nn.linear import Linear
from lm_lab.nn.stack import Remat, repeat
from tests.tiny import ROUNDING, distance, normal


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, shift):
        return jnp.tanh(Linear(8, "expand", name="mix")(x)) + shift, None


class Settings(NamedTuple):
    scan: bool = True
    remat: Remat = "none"
    dropout: float = 0.0


class Stack(nn.Module):
    block: type[nn.Module]
    depth: int
    cfg: Settings

    def setup(self):
        self.layers = repeat(self, self.block, self.depth, self.cfg)()

    def __call__(self, *inputs):
        return self.layers(*inputs)[0]


def built(depth, scan, remat="none"):
    return Stack(Block, depth, Settings(scan, remat))


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + nn.Dropout(0.5, deterministic=False)(jnp.ones_like(x)), None


X = normal(2, 8)


@pytest.mark.parametrize("scan", [False, True])
def test_layers_differ_and_are_applied_in_order(scan):
    stack = built(3, scan)
    params = unbox(jax.jit(stack.init)(jax.random.key(0), X, 0.1)["params"])
    kernels = params["layers"]["mix"]["kernel"]
    assert kernels.shape == (3, 8, 8)
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 3
    wanted = X
    for kernel in kernels:
        wanted = jnp.tanh(wanted @ kernel) + 0.1
    assert jnp.allclose(stack.apply({"params": params}, X, 0.1), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "remat, products, tanhs", [("none", 3, 1), ("full", 4, 2), ("dots", 3, 2), ("offload", 3, 2)]
)
def test_the_backward_pass_computes_again_what_the_policy_says(remat, products, tanhs):
    stack = built(3, True, remat)
    params = unbox(jax.eval_shape(lambda: stack.init(jax.random.key(0), X, 0.1))["params"])

    def loss(params, x):
        return stack.apply({"params": params}, x, 0.1).sum()

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(params, X)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("stablehlo.dot_general ") == products  # forward, and two transposes
    assert program.count("stablehlo.tanh ") == tanhs
    # There and back again: the products of a layer lie with the host between the passes.
    assert program.count('"pinned_host"') == (remat == "offload")


def test_layers_drop_features_of_their_own():
    stack = Stack(Dropping, 3, Settings(dropout=0.5))
    total = stack.apply({}, jnp.zeros(100), rngs={"dropout": jax.random.key(0)})
    assert set(total.tolist()) == {0.0, 2.0, 4.0, 6.0}
    # What a seed draws is what it drew for runs that are stored.
    assert total[:12].tolist() == [2.0, 4.0, 2.0, 2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 4.0, 2.0, 4.0]


def test_a_pass_that_draws_nothing_traces_a_block_once(monkeypatch):
    traced = []
    plain = Block.__call__
    monkeypatch.setattr(Block, "__call__", lambda *given: traced.append(1) or plain(*given))
    stack = built(3, True)
    params = unbox(jax.eval_shape(lambda: stack.init(jax.random.key(0), X, 0.1)))
    traced.clear()
    jax.eval_shape(lambda params: stack.apply(params, X, 0.1), params)
    assert len(traced) == 1


class Summing(nn.Module):
    """Adds up what it was given, with what it was given before."""

    @nn.compact
    def __call__(self, x):
        total = self.variable("cache", "total", jnp.zeros_like, x)
        total.value += Linear(8, "expand", name="mix")(x)
        return jnp.tanh(total.value), None


def test_unrolled_layers_hold_caches_of_their_own_and_go_on_as_scanned_ones():
    scanned, unrolled = (Stack(Summing, 11, Settings(scan)) for scan in (True, False))
    params = unbox(jax.jit(scanned.init)(jax.random.key(0), X)["params"])
    stacked, apart = {}, {}
    for call in range(3):
        wanted, stacked = scanned.apply({"params": params, **stacked}, X + call, mutable=["cache"])
        found, apart = unrolled.apply({"params": params, **apart}, X + call, mutable=["cache"])
        assert distance(found, wanted) < ROUNDING
    assert {layer: cache["total"].shape for layer, cache in apart["cache"]["layers"].items()} == {
        f"layer_{index}": X.shape for index in range(11)
    }
    layers = apart["cache"]["layers"]
    for index in range(11):
        assert (
            distance(layers[f"layer_{index}"]["total"], stacked["cache"]["layers"]["total"][index])
            < ROUNDING
        )
