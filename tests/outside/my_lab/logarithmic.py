"""A position scheme: scores fall with the logarithm of the distance (2205.09921)."""

from dataclasses import dataclass

import jax.numpy as jnp

from lm_lab.nn.positions import Scheme
from lm_lab.schema import setting


@dataclass(frozen=True)
class Logarithmic(Scheme):
    """The settings of the scheme."""

    strength: float = setting("nats for each e-fold of 1 + distance", 1.0, low=0.0)

    def bias(self, distance_LM, heads, table):
        """-strength * log(1 + |distance|), the same for all heads."""
        bias_LM = -self.strength * jnp.log1p(jnp.abs(distance_LM).astype(jnp.float32))
        return jnp.broadcast_to(bias_LM, (1, heads, *distance_LM.shape))


POSITIONS = Logarithmic
