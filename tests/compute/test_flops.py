"""Laws of the count of FLOPs: of loops, calls, gradients and shards; and functions that it
refuses.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct as Shape
from jax import lax
from jax.experimental import pallas
from jax.extend.core import Primitive
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from lm_lab.compute.flops import Uncountable, count

F32 = jnp.float32
ROWS, WIDTH = 4, 8
X, W = Shape((ROWS, WIDTH), F32), Shape((WIDTH, WIDTH), F32)
ONE = 2 * ROWS * WIDTH * WIDTH


def multiply(x, w):
    return x @ w


@jax.custom_vjp
def by_vjp(x, w):
    return x @ w


by_vjp.defvjp(lambda x, w: (x @ w, (x, w)), lambda saved, d: (d @ saved[1].T, saved[0].T @ d))


@jax.custom_jvp
def by_jvp(x, w):
    return x @ w


by_jvp.defjvp(
    lambda primals, tangents: (
        primals[0] @ primals[1],
        tangents[0] @ primals[1] + primals[0] @ tangents[1],
    )
)


@pytest.mark.parametrize(
    "wrapped", [jax.jit(multiply), jax.checkpoint(multiply), by_vjp, by_jvp, multiply]
)
def test_calls_cost_what_they_call(wrapped):
    assert count(wrapped, X, W).total == ONE


@pytest.mark.parametrize("wrapped", [jax.jit(multiply), by_vjp, by_jvp, multiply])
def test_a_gradient_costs_two_products_more(wrapped):
    def loss(x, w):
        return wrapped(x, w).sum()

    assert count(jax.value_and_grad(loss, (0, 1)), X, W).total == 3 * ONE


@pytest.mark.parametrize("wrapped", [jax.jit(multiply), by_vjp, multiply])
def test_a_gradient_that_nobody_asks_for_costs_nothing(wrapped):
    def loss(x, w):
        return wrapped(x, w).sum()

    assert count(jax.value_and_grad(loss, 1), X, W).total == 2 * ONE
    assert count(lambda x, w: (multiply(x, w), x)[1], X, W).total == 0


def perceptron(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return x.sum()


def test_perceptron_forward_and_backward():
    weights = [Shape((6, 16), F32), Shape((16, 16), F32), Shape((16, 3), F32)]
    x = Shape((5, 6), F32)
    forward = 2 * 5 * (6 * 16 + 16 * 16 + 16 * 3)
    assert count(perceptron, weights, x).total == forward
    # Nobody asks for the gradient of x, so the first layer has one backward product instead of two.
    assert count(jax.value_and_grad(perceptron), weights, x).total == 3 * forward - 2 * 5 * 6 * 16


def test_scan_equals_unrolled():
    stacked = Shape((7, WIDTH, WIDTH), F32)

    def scanned(w_NDD, x):
        return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w_NDD)[0].sum()

    def unrolled(w_NDD, x):
        return perceptron(list(w_NDD), x)

    def gradients(function):
        return jax.value_and_grad(function, (0, 1))

    batch = Shape((3, *X.shape), F32)
    assert count(scanned, stacked, X) == count(unrolled, stacked, X)
    assert (
        count(gradients(scanned), stacked, X).total
        == count(gradients(unrolled), stacked, X).total
        == 21 * ONE
    )
    assert count(jax.vmap(scanned, (None, 0)), stacked, batch).total == 3 * 7 * ONE


def test_nested_scans_multiply():
    def inner(x, w):
        return lax.scan(lambda x, _: (x @ w, None), x, length=3)[0]

    assert (
        count(lambda x, w: lax.scan(lambda x, _: (inner(x, w), None), x, length=5)[0], X, W).total
        == 15 * ONE
    )


@pytest.mark.parametrize(
    "start, stop", [(0, 5), (jnp.int32(2), jnp.int32(7)), (np.int32(0), 5)], ids=str
)
def test_fori_loop_with_constant_bounds(start, stop):
    assert (
        count(lambda x, w: lax.fori_loop(start, stop, lambda _, x: x @ w, x), X, W).total == 5 * ONE
    )


@pytest.mark.parametrize("stop, step, trip_count", [(5, 1, 5), (5, 2, 3), (6, 2, 3), (0, 1, 0)])
def test_while_that_counts_to_a_constant(stop, step, trip_count):
    def loop(x, w):
        return lax.while_loop(
            lambda carry: carry[1] < stop, lambda carry: (carry[0] @ w, carry[1] + step), (x, 0)
        )[0]

    assert count(loop, X, W).total == trip_count * ONE


def test_while_of_unknown_length_is_refused_only_around_products():
    def until(x, w):
        return lax.while_loop(lambda x: x.sum() > 1, lambda x: x @ w, x)

    with pytest.raises(Uncountable, match="while loop of unknown length"):
        count(until, X, W)
    with pytest.raises(Uncountable, match="while loop of unknown length"):
        count(
            lambda x, w, n: lax.fori_loop(0, n, lambda _, x: x @ w, x), X, W, Shape((), jnp.int32)
        )

    def doubled_bound(x, w):  # the bound moves with the loop, so its first value says nothing
        return lax.while_loop(
            lambda c: c[0] < c[1], lambda c: (c[0] + 2, c[1] + 1, c[2] @ w), (0, 5, x)
        )

    with pytest.raises(Uncountable, match="while loop of unknown length"):
        count(doubled_bound, X, W)
    assert count(lambda x: lax.while_loop(lambda x: x.sum() > 1, lambda x: x / 2, x), X).total == 0


def test_cond_costs_its_dearest_branch():
    def choose(x, w):
        return lax.cond(x.sum() > 0, lambda: x @ w @ w, lambda: x @ w)

    assert count(choose, X, W).total == 2 * ONE


def test_shard_map_costs_all_its_shards():
    mesh = AbstractMesh((4, 2), ("data", "tensor"), axis_types=(AxisType.Auto,) * 2)
    sharded = jax.shard_map(
        multiply, mesh=mesh, in_specs=(P("data"), P(None, "tensor")), out_specs=P("data", "tensor")
    )
    assert count(sharded, X, W).total == ONE


def test_remat_that_recomputes_is_refused():
    def loss(w, x):
        return jax.checkpoint(lambda x, w: jnp.tanh(x @ w) @ w)(x, w).sum()

    assert count(loss, W, X).total == 2 * ONE
    with pytest.raises(Uncountable, match="remat off"):
        count(jax.grad(loss), W, X)


def test_what_hides_its_products_is_refused():
    kernel = pallas.pallas_call(lambda x, out: None, out_shape=X)
    with pytest.raises(Uncountable, match=r"pallas_call .* reference kernel"):
        count(kernel, X)
    with pytest.raises(Uncountable, match="ffi_call"):
        count(jax.ffi.ffi_call("unknown", X), X)
    with pytest.raises(Uncountable, match=r"cholesky .* has no counting rule"):
        count(jnp.linalg.cholesky, W)
    with pytest.raises(Uncountable, match="fft"):
        count(jnp.fft.fft, W)
    with pytest.raises(Uncountable, match="custom_linear_solve"):
        count(
            lambda a, b: jax.scipy.sparse.linalg.cg(lambda x: a @ x, b)[0], W, Shape((WIDTH,), F32)
        )
    with pytest.raises(Uncountable, match="pure_callback"):
        count(lambda x: jax.pure_callback(lambda x: x, X, x), X)


def test_products_within_a_primitive_without_a_rule_are_refused():
    unknown = Primitive("unknown")
    unknown.def_abstract_eval(lambda x, **_: x)
    body = jax.make_jaxpr(jnp.matmul)(X, W)
    for held in (body, (body,)):
        with pytest.raises(Uncountable, match=r"unknown .* has no counting rule"):
            count(lambda x, held=held: unknown.bind(x, held=held), X)


def test_associative_scan_of_matrices_is_counted_and_of_elements_is_elementwise():
    matrices = count(lambda a: lax.associative_scan(jnp.matmul, a), Shape((4, 3, 3), F32))
    assert matrices.total == 4 * 2 * 27  # a parallel prefix of 4 takes 2 + 1 + 1 products

    def recur(gate_LD, x_LD):
        return lax.associative_scan(
            lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (gate_LD, x_LD)
        )[1]

    elements = count(recur, Shape((64, 16), F32), Shape((64, 16), F32))
    assert elements.total == 0
    assert 3 * 63 * 16 <= elements.elementwise <= 3 * 2 * 64 * 16 + 4 * 64 * 16


def test_groups_come_from_names_forward_and_backward_and_sum_to_the_total():
    def layer(x, w):
        with jax.named_scope("attention"):
            x = x @ w
        with jax.named_scope("feed_forward"):
            return x @ w @ w, None

    def loss(w_NDD, head, x):
        with jax.named_scope("layers"):
            x = lax.scan(layer, x, w_NDD)[0]
        with jax.named_scope("head"):
            return (x @ head).sum()

    counted = count(jax.value_and_grad(loss, (0, 1, 2)), Shape((3, WIDTH, WIDTH), F32), W, X)
    assert counted.by_group == {"attention": 9 * ONE, "feed_forward": 18 * ONE, "head": 3 * ONE}
    assert counted.total == 30 * ONE


def test_sums_beyond_64_bits():
    wide = Shape((1 << 22, 1 << 22), jnp.bfloat16)
    assert (
        count(
            lambda a, b: lax.scan(lambda c, _: (c @ b, None), a, length=1000)[0], wide, wide
        ).total
        == 2000 << 66
    )
