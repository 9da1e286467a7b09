import jax.numpy as jnp
import numpy as np

from lm_lab.nn.positions import Rotary, rotate
from tests.tiny import ROUNDING, distance

RNG = np.random.default_rng(0)
X, Y = (jnp.float32(RNG.normal(size=(1, 1, 3, 8))) for _ in range(2))


def at(x, position):
    return rotate(x, jnp.full((1, 1), position), Rotary())


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
