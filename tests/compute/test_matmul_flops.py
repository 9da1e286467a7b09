"""Closed forms of single products and convolutions."""

from math import prod

import jax
import jax.numpy as jnp
import pytest
from jax import ShapeDtypeStruct as Shape
from jax import lax

from lm_lab.compute.flops import count

F32 = jnp.float32


def test_dot_is_two_m_n_k_a_batch_entry():
    batched = count(
        lambda a, b: jnp.einsum("bmk,bkn->bmn", a, b), Shape((5, 2, 3), F32), Shape((5, 3, 7), F32)
    )
    assert batched.total == 2 * 5 * 2 * 7 * 3
    outer = count(jnp.outer, Shape((4,), F32), Shape((6,), F32))
    assert outer == (0, {}, 24)  # an outer product of vectors is a broadcast multiplication
    contracted = count(
        lambda a, b: jnp.tensordot(a, b, 2), Shape((4, 5, 6), F32), Shape((5, 6, 3), F32)
    )
    assert contracted.total == 2 * 4 * 3 * 30


def test_vmap_multiplies():
    shapes = Shape((3, 4), F32), Shape((4, 5), F32)
    one = count(jnp.matmul, *shapes).total
    batched = [Shape((7, *shape.shape), F32) for shape in shapes]
    assert count(jax.vmap(jnp.matmul), *batched).total == 7 * one
    assert count(jax.vmap(jnp.matmul, (0, None)), batched[0], shapes[1]).total == 7 * one


def test_ragged_dot_and_its_gradients_cost_one_matrix_a_row():
    rows, inner, columns, groups = 16, 8, 5, 3
    shapes = (
        Shape((rows, inner), F32),
        Shape((groups, inner, columns), F32),
        Shape((groups,), jnp.int32),
    )
    forward = 2 * rows * inner * columns
    assert count(lax.ragged_dot, *shapes).total == forward

    def loss(a, b, sizes):
        return lax.ragged_dot(a, b, sizes).sum()

    assert count(jax.value_and_grad(loss, (0, 1)), *shapes).total == 3 * forward


def convolve(x, kernel, **options):
    return lax.conv_general_dilated(x, kernel, dimension_numbers=("NWC", "WIO", "NWC"), **options)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_convolution_without_padding(groups):
    x, kernel = Shape((2, 10, 8), F32), Shape((3, 8 // groups, 16), F32)
    counted = count(
        lambda a, b: convolve(
            a, b, window_strides=(1,), padding="VALID", feature_group_count=groups
        ),
        x,
        kernel,
    )
    assert counted.total == 2 * (2 * 8 * 16) * 3 * (
        8 // groups
    )  # (batch x outputs x channels) x taps x inputs


def test_causal_convolution_leaves_padding_out():
    x, kernel = Shape((1, 10, 1), F32), Shape((4, 1, 1), F32)
    counted = count(lambda a, b: convolve(a, b, window_strides=(1,), padding=((3, 0),)), x, kernel)
    assert counted.total == 2 * (1 + 2 + 3 + 4 * 7)


OPTIONS = [
    {"window_strides": (1,), "padding": "SAME"},
    {"window_strides": (3,), "padding": "VALID"},
    {"window_strides": (2,), "padding": ((3, 1),), "feature_group_count": 4},
    {"window_strides": (1,), "padding": "SAME", "rhs_dilation": (2,)},
    {"window_strides": (1,), "padding": ((2, 1),), "lhs_dilation": (2,)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_backward_convolutions_cost_what_the_forward_one_does(options):
    groups = options.get("feature_group_count", 1)
    shapes = Shape((2, 11, 8), F32), Shape((3, 8 // groups, 12), F32)
    forward = count(lambda a, b: convolve(a, b, **options), *shapes).total
    both = count(
        jax.value_and_grad(lambda a, b: convolve(a, b, **options).sum(), (0, 1)), *shapes
    ).total
    assert both == 3 * forward


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_convolution_agrees_with_xla(options):
    groups = options.get("feature_group_count", 1)
    shapes = Shape((2, 11, 8), F32), Shape((3, 8 // groups, 12), F32)
    analysis = jax.jit(lambda a, b: convolve(a, b, **options)).lower(*shapes).cost_analysis() or {}
    assert count(lambda a, b: convolve(a, b, **options), *shapes).total == analysis["flops"]


def test_image_convolution():
    def convolve_2d(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x, kernel = Shape((2, 9, 7, 3), F32), Shape((3, 3, 3, 16), F32)
    assert count(convolve_2d, x, kernel).total == 2 * (2 * 4 * 3 * 16) * prod((3, 3, 3))
