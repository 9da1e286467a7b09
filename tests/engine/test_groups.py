"""The laws of gradients that are summed over devices once a step."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from lm_lab.compute.collectives import collectives
from lm_lab.engine import sharding
from lm_lab.engine.groups import summed_last
from lm_lab.engine.step import accumulate
from lm_lab.nn.dropout import is_kept
from lm_lab.nn.linear import constrain
from tests import tiny
from tests.tiny import ROUNDING, distance

pytestmark = pytest.mark.skipif(
    jax.device_count() < 8, reason="needs the 8 virtual devices of the suite"
)

ROWS, LENGTH, WIDTH = 32, 4, 16


def gradient(kernels, x_BLD, key, frozen, carry):
    """Of two layers in a loop, with the dropout of each, and of a state that rows carry."""

    def summed(kernels):
        def layer(x, of_layer):
            kernel, key = of_layer
            kept = is_kept(key, 0.7, x.shape)
            return constrain(jnp.where(kept, jnp.tanh(x @ kernel), 0.0)), None

        y_BLD, _ = jax.lax.scan(layer, x_BLD, (kernels, jax.random.split(key, 2)))
        nll = (y_BLD**2).sum() + (carry[:, None, None] * y_BLD).sum()
        return nll, ({"nll": nll, "weight": jnp.float32(x_BLD.size)}, carry + y_BLD.sum((1, 2)))

    return jax.grad(summed, has_aux=True)(kernels)


ARGUMENTS = (
    tiny.normal(2, WIDTH, WIDTH) * WIDTH**-0.5,
    tiny.normal(ROWS, LENGTH, WIDTH, seed=1),
    jax.random.key(0),
    (),
    tiny.normal(ROWS, seed=2),
)


def on_mesh(microbatches):
    """(bytes that a device sends in all-reduces, the value) on groups of devices and others."""
    mesh = sharding.make_mesh(sharding.Config(replica=2, data=2, fsdp=2))
    rows = jax.NamedSharding(mesh, P(("replica", "data", "fsdp")))
    whole = jax.NamedSharding(mesh, P())
    places = (whole, rows, whole, (), rows)
    summed = summed_last(gradient, microbatches, ("replica", "data"))
    with sharding.use(mesh):
        compiled = jax.jit(summed, in_shardings=places, out_shardings=whole).lower(*ARGUMENTS)
        step = compiled.compile()
    text = step.as_text()
    assert text is not None
    return collectives(text)["all-reduce"].sent, step(*jax.device_put(ARGUMENTS, places))


def test_microbatches_are_summed_over_groups_of_devices_once_and_draw_as_one_device():
    expected = jax.jit(accumulate(gradient, 4))(*ARGUMENTS)
    sent, value = on_mesh(4)
    assert distance(value, expected) < ROUNDING
    kernels = 4 * ARGUMENTS[0].size
    # over 4 groups once (a ring sends 2 * 3/4 of them), over the 2 devices of a group in each of 4
    # microbatches (2 * 1/2); and the two sums
    assert sent == pytest.approx((1.5 + 4) * kernels, abs=100)


def test_without_a_mesh_it_is_accumulation():
    one, other = (
        each(gradient, 2, *axes) for each, axes in ((accumulate, ()), (summed_last, (("data",),)))
    )
    assert str(jax.make_jaxpr(one)(*ARGUMENTS)) == str(jax.make_jaxpr(other)(*ARGUMENTS))
