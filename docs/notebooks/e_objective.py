"""
An objective of one's own
=========================

Next-token prediction with a penalty on the log of the normaliser (the z-loss of PaLM, 2204.02311):
a loss is a function of logits and a batch that returns sums and counts.
"""

# %%
# What an objective prepares (inputs, targets, which tokens are scored) is taken from ``causal``;
# the loss alone is new. Sums and never means: so accumulation and sharding stay exact.

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import lm_lab
from lm_lab.contracts import Objective
from lm_lab.objectives import causal
from lm_lab.schema import setting
from lm_lab.types import ObjectiveFunctions

STEPS = 120  # in the tests: 4


@dataclass(frozen=True)
class Penalty:
    weight: float = setting("of the squared log normaliser", 1e-2, low=0)


def make(config, length, vocabulary):
    plain = causal.OBJECTIVE.make(causal.Config(), length, vocabulary)

    def loss(logits, batch):
        squared_BL = jax.nn.logsumexp(logits, axis=-1) ** 2
        sums = plain.loss(logits, batch)
        return {**sums, "nll": sums["nll"] + config.weight * (squared_BL * batch.weights).sum()}

    return ObjectiveFunctions(plain.prepare, loss)


PENALISED = Objective(Penalty, make, scope="causal", window=causal.OBJECTIVE.window)

# %%
# Two runs, with and without it. Held-out text is judged by the plain objective in both
# (``also_evaluate``), as a penalty is no likelihood.

tiny = {
    "model": {"family": "decoder", "width": 16, "depth": 1, "heads": 2},
    "objective": {"name": "causal"},
    "data": {"source": {"name": "synthetic", "documents": 64}, "length": 16},
    "optimizer": {"peak_rate": 0.02},
    "schedule": {"name": "cosine", "warmup_steps": 2},
    "train": {"steps": STEPS, "batch_size": 8, "eval_batches": 4},
}
changes = {"objective": {"name": PENALISED, "weight": 0.1}, "train.also_evaluate": ["causal"]}
plain = lm_lab.train_run(tiny, "runs/plain")
penalised = lm_lab.train_run(lm_lab.load_config(tiny, changes), "runs/penalised")

# %%

print(f"plain      {plain.result['final']['eval/heldout/nll']:.3f} nats a token")
print(f"penalised  {penalised.result['final']['eval/causal/nll']:.3f} nats a token")

# %%
# The penalty does what it is for: normalisers are near 1, their logs near 0.

for name, run in {"plain": plain, "penalised": penalised}.items():
    normalisers = jax.nn.logsumexp(run.logits("abba" * 4), axis=-1)
    print(f"{name:10} mean |log Z| = {jnp.abs(normalisers).mean():.3f}")

# %%
# The curve of the second run: what it trains is the penalised loss.

penalised.figure()
