from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.nn.positions import (
    LinearScaling,
    Llama3,
    RelativeBias,
    Rotary,
    alibi_bias,
    alibi_slopes,
    relative_buckets,
    sinusoidal,
)
from tests import tiny
from tests.tiny import ROUNDING, distance

RNG = np.random.default_rng(0)
X, Y = (jnp.float32(RNG.normal(size=(1, 1, 3, 8))) for _ in range(2))


def at(x, position):
    return Rotary().rotate(x, jnp.full((1, 1), position))


def test_position_0_is_the_identity():
    assert (at(X, 0) == X).all()


def test_rotation_keeps_the_norm():
    assert distance(jnp.linalg.norm(at(X, 1000), axis=-1), jnp.linalg.norm(X, axis=-1)) < ROUNDING


def test_a_product_depends_on_the_distance_alone():
    products = [(at(X, 7 + shift) * at(Y, 3 + shift)).sum(-1) for shift in (0, 5, 200)]
    for product in products[1:]:
        # Angles up to 207 rad are rounded to 2^-17 rad.
        assert distance(product, products[0]) < 207 * 2**-23 * 4
    assert distance((at(X, 8) * at(Y, 3)).sum(-1), products[0]) > 0.01


def test_pairs_turn_by_the_papers_rates():
    rotated = at(jnp.ones((1, 1, 1, 8)), 3)[0, 0, 0]
    angles = 3 * 10_000.0 ** (-np.arange(4) / 4)
    wanted = np.concatenate([np.cos(angles) - np.sin(angles), np.cos(angles) + np.sin(angles)])
    assert distance(rotated, wanted) < ROUNDING


def llama3_rates(rotary, pairs):
    """As Meta published it, with a branch for each case, in float64."""
    found, scaling = [], rotary.scaling
    for pair in range(pairs):
        rate = rotary.base ** (-pair / pairs)
        wavelength = 2 * np.pi / rate
        if wavelength < scaling.length / scaling.high_factor:
            found.append(rate)
        elif wavelength > scaling.length / scaling.low_factor:
            found.append(rate / scaling.factor)
        else:
            part = (scaling.length / wavelength - scaling.low_factor) / (
                scaling.high_factor - scaling.low_factor
            )
            found.append((1 - part) * rate / scaling.factor + part * rate)
    return np.asarray(found)


def test_scaled_rates_are_the_published_ones():
    llama3 = Rotary(500_000.0, scaling=Llama3(8.0, 1.0, 4.0, 8192))  # LLaMA 3.1's
    wanted = llama3_rates(llama3, 64)
    slowed = wanted * 500_000.0 ** (np.arange(64) / 64)
    assert np.isclose(slowed, 1).sum() > 20
    assert np.isclose(slowed, 1 / 8).sum() > 20
    assert ((slowed < 0.99) & (slowed > 0.13)).any()
    np.testing.assert_allclose(
        llama3.rates(64), wanted, rtol=2e-6
    )  # 500,000^x is 13 x a rounding of its exponent
    linear = Rotary(scaling=LinearScaling(4.0))
    assert distance(linear.rotate(X, jnp.full((1, 1), 8)), at(X, 2)) < ROUNDING


def test_alibi_slopes_are_the_papers():
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(16) == pytest.approx([2 ** (-i / 2) for i in range(1, 17)])
    # The published code's list for 12 heads: eight of 8 heads, then four of 16.
    assert alibi_slopes(12) == pytest.approx(
        [2.0**-i for i in range(1, 9)] + [2 ** (-i / 2) for i in (1, 3, 5, 7)]
    )
    assert alibi_slopes(1) == [2.0**-8]


def test_alibi_falls_with_the_distance():
    places = jnp.arange(4)
    bias = alibi_bias(places[:, None] - places, 2)
    assert bias.shape == (1, 2, 4, 4)
    assert bias[0, 0, 3].tolist() == [-3 / 16, -2 / 16, -1 / 16, 0]
    assert bias[0, 1, 0].tolist() == [0, -1 / 256, -2 / 256, -3 / 256]


def test_sinusoids_are_the_papers():
    positions, width = np.array([[0, 1, 7, 500]]), 6
    angles = positions[..., None] / 10_000 ** (2 * np.arange(3) / width)
    wanted = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    # Angles up to 500 rad are rounded to 2^-15 rad.
    assert (
        np.abs(np.asarray(sinusoidal(jnp.asarray(positions), width)) - wanted).max() < 500 * 2**-23
    )


def bucket(distance, bidirectional, buckets=32, reach=128):
    """1910.10683, section 2.1, in whole numbers: of two distances of a bucket, one is less than
    `ratio` the other.
    """
    side, upper = (buckets // 2, buckets // 2 * (distance < 0)) if bidirectional else (buckets, 0)
    far = abs(distance) if bidirectional else max(distance, 0)
    exact = side // 2
    if far < exact:
        return far + upper
    grown = 0  # the largest g with (reach / exact)^(g / (side - exact)) <= far / exact
    while grown < side - exact - 1 and reach ** (grown + 1) * exact ** (
        side - exact - grown - 1
    ) <= far ** (side - exact):
        grown += 1
    return exact + grown + upper


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("buckets, reach", [(32, 128), (8, 20)])
def test_buckets_grow_with_the_distance(bidirectional, buckets, reach):
    distances = np.arange(-200, 201)
    found = relative_buckets(
        jnp.asarray(distances), bidirectional=bidirectional, buckets=buckets, reach=reach
    )
    wanted = [bucket(int(distance), bidirectional, buckets, reach) for distance in distances]
    assert np.asarray(found).tolist() == wanted
    assert set(wanted) == set(range(buckets)) - {
        buckets // 2 if bidirectional else None
    }  # 0, but to the right


@pytest.mark.parametrize("queries, keys, first", [(5, 5, 0), (3, 7, 4), (1, 6, 5), (6, 1, 0)])
def test_a_relative_bias_is_that_of_its_bucket(queries, keys, first):
    module = RelativeBias(3, bidirectional=True, buckets=8, reach=20)
    distance_LM = np.int32(first) + np.arange(queries, dtype=np.int32)[:, None]
    distance_LM = distance_LM - np.arange(keys, dtype=np.int32)
    params = tiny.params_of(module, distance_LM)
    weights = tiny.normal(1, 3, queries, keys, seed=1)

    def looked_up(params):
        buckets_LM = relative_buckets(distance_LM, bidirectional=True, buckets=8, reach=20)
        return jnp.moveaxis(params["table"]["embedding"][buckets_LM], -1, 0)[None]

    def weighed(function, params):
        bias = function(params)
        return (bias * weights).sum(), bias

    (gradient, bias), (wanted_gradient, wanted_bias) = (
        jax.jit(jax.grad(partial(weighed, function), has_aux=True))(params)
        for function in (lambda params: module.apply({"params": params}, distance_LM), looked_up)
    )
    assert tiny.same_bits(bias, wanted_bias)
    assert distance(gradient, wanted_gradient) < ROUNDING


def test_a_share_of_the_features_turns_as_a_smaller_head_would():
    x = tiny.normal(2, 5, 3, 16)
    slots = jnp.arange(5)[None]
    turned = Rotary(share=0.5).rotate(x, slots)
    assert (turned[..., 8:] == x[..., 8:]).all()
    assert (turned[..., :8] == Rotary().rotate(x[..., :8], slots)).all()
