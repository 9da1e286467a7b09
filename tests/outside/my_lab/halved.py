"""An objective: next-token prediction of every other token."""

import jax.numpy as jnp

from lm_lab.contracts import MetricChoice, Objective
from lm_lab.objectives.causal import OBJECTIVE as CAUSAL
from lm_lab.types import ObjectiveFunctions


def make(config, length, vocabulary):
    """Causal modelling, with the weight of every second target 0."""
    causal = CAUSAL.make(config, length, vocabulary)

    def prepare(key, examples):
        batch = causal.prepare(key, examples)
        return batch._replace(weights=batch.weights * (jnp.arange(length) % 2))

    return ObjectiveFunctions(prepare, causal.loss)


OBJECTIVE = Objective(
    CAUSAL.Config,
    make,
    scope="causal",
    window=CAUSAL.window,
    metrics=lambda config: (MetricChoice("my_lab.weights"),),
)
