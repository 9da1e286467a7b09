"""A metric: the root of the mean square of all parameters."""

from dataclasses import dataclass

import jax
import numpy as np

from lm_lab.contracts import Metric


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def prepare(config, data):
    """A function of the parameters; it needs none of the held-out data."""

    def measure(params):
        entries = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
        return {"root_mean_square": float(np.sqrt(np.mean(entries**2)))}

    return measure


METRIC = Metric(Config, prepare)
