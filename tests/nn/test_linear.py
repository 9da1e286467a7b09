import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from lm_lab.engine.placement import rules
from lm_lab.nn.linear import AXES, BlockLinear, Embedding, Linear, matmul
from lm_lab.types import UserError
from tests.tiny import ROUNDING, distance, normal


@pytest.mark.parametrize("role", AXES)
def test_kernels_begin_with_the_variance_that_keeps_the_stream(role):
    params = jax.jit(Linear(512, role, scale=0.5).init)(jax.random.key(0), jnp.ones((1, 256)))[
        "params"
    ]
    kernel = nn.meta.unbox(params)["kernel"]
    # 131,072 draws: the standard deviation is known within 0.2 %.
    assert float(kernel.std()) == pytest.approx(0.5 / 256**0.5, rel=0.01)


def test_a_role_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="'reduce' is no role of a kernel; give one of expand, con"):
        Linear(4, "reduce").init(jax.random.key(0), jnp.ones((1, 2)))  # type: ignore[arg-type]


def test_every_logical_axis_has_a_rule():
    assert {axis for axes in AXES.values() for axis in axes} <= {*rules(0, "parameters")}


def test_kernels_work_in_the_dtype_of_their_input():
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.ones((2, 8), dtype)
        out, params = jax.eval_shape(
            lambda key, x=x: Linear(4, "expand").init_with_output(key, x), jax.random.key(0)
        )
        assert out.dtype == dtype
        assert nn.meta.unbox(params)["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
def test_the_written_gradients_of_a_product_are_those_of_jax(shape):
    x, kernel = (
        normal(*shape),
        normal(3, 4, seed=1),
    )
    ours = jax.grad(lambda x, kernel: jnp.sin(matmul(x, kernel)).sum(), (0, 1))(x, kernel)
    theirs = jax.grad(lambda x, kernel: jnp.sin(x @ kernel).sum(), (0, 1))(x, kernel)
    for one, other in zip(ours, theirs):
        assert distance(one, other) < ROUNDING


def test_a_tied_head_is_the_transpose_of_the_table():
    module = Embedding(5, 3)
    table = normal(5, 3)
    x = normal(2, 3, seed=1)
    assert (
        module.apply({"params": {"embedding": table}}, jnp.array([4, 0]))
        == table[jnp.array([4, 0])]
    ).all()
    assert (module.apply({"params": {"embedding": table}}, x, method="attend") == x @ table.T).all()


def test_a_block_linear_is_a_block_diagonal_product():
    x = normal(3, 12)
    params = jax.tree.map(
        lambda leaf: leaf + 1.0, nn.meta.unbox(BlockLinear(3).init(jax.random.key(1), x)["params"])
    )
    blocks = jax.scipy.linalg.block_diag(*params["kernel"])
    assert (
        distance(BlockLinear(3).apply({"params": params}, x), x @ blocks + params["bias"])
        < ROUNDING
    )
