from types import SimpleNamespace
from typing import cast

import jax
import jax.numpy as jnp
from jax import ShapeDtypeStruct as Shape
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Compiled

from lm_lab.compute.memory import bytes_of, compiled_memory, state_bytes


def test_bytes_by_category():
    params = {"a": Shape((3, 4), jnp.float32), "b": Shape((5,), jnp.bfloat16)}
    moments = [params, params, Shape((), jnp.int32)]
    slots = {"average": Shape((3, 4), jnp.float32), "frozen": ()}
    found = state_bytes(params, moments, slots)
    assert found == {"parameters": 58, "gradients": 58, "optimizer": 120, "average": 48}


def test_a_sharded_array_takes_its_share():
    mesh = AbstractMesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    kernel = Shape((16, 8), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp")))
    assert bytes_of([kernel, jnp.zeros((16, 8))]) == 16 * 8 * 4 * 3 // 2


def test_memory_of_a_compiled_step():
    def step(w, x):
        return w - jax.grad(lambda w: jnp.tanh(x @ w).sum())(w)

    w, x = Shape((64, 64), jnp.float32), Shape((128, 64), jnp.float32)
    memory = compiled_memory(jax.jit(step, donate_argnums=0).lower(w, x).compile())
    assert memory is not None
    assert memory.arguments == bytes_of((w, x))
    assert memory.outputs == memory.aliased == bytes_of(w)
    assert memory.temporaries >= bytes_of(
        x
    )  # the activation lives from the forward to the backward pass
    assert memory.peak == memory.arguments + memory.temporaries


def test_a_backend_that_does_not_say():
    silent = SimpleNamespace(memory_analysis=lambda: None)
    assert compiled_memory(cast(Compiled, silent)) is None
