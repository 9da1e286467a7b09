import jax
import jax.numpy as jnp

from lm_lab.nn.state_space import STEEPEST, root
from tests.tiny import ROUNDING, distance


def test_the_root_is_one_whose_slope_is_bounded():
    x = jnp.array([0.0, 1e-12, 1e-6, 0.25, 1.0])
    slopes = jax.vmap(jax.grad(root))(x)
    assert distance(root(x), x**0.5) < ROUNDING
    assert distance(slopes, jnp.array([STEEPEST, STEEPEST, 500.0, 1.0, 0.5])) < ROUNDING
