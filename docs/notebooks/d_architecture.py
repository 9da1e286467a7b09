"""
An architecture of one's own
============================

A family is a dataclass of settings and a Flax module. lm_lab tries it against the laws of its kind
before it costs any compute: does it look ahead, does it mix documents that share a row?
"""

# %%
# A decaying mean of the past: each layer mixes a token with an exponential average of those before
# it. This first form forgets that documents may share a row.

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

import lm_lab
from lm_lab import laws
from lm_lab.contracts import Family
from lm_lab.laws import models
from lm_lab.nn.linear import Embedding, Linear
from lm_lab.nn.norm import Norm
from lm_lab.schema import setting

STEPS = 60  # in the tests: 4


@dataclass(frozen=True)
class Config:
    width: int = setting("features of the stream, D", 32, low=1)
    depth: int = setting("layers, N", 1, low=1)
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)


def averages(x_BLD, keep_BL1):
    """The decaying mean of each row's past; where `keep` is 0 it begins anew."""

    def combine(one, other):
        return one[0] * other[0], one[1] * other[0] + other[1]

    return jax.lax.associative_scan(combine, (keep_BL1 * jnp.ones_like(x_BLD), x_BLD), axis=1)[1]


class Model(nn.Module):
    cfg: Config
    isolates: bool = False  # whether documents of a row are kept apart

    def setup(self):
        self.embed = Embedding(self.cfg.vocab, self.cfg.width)
        self.layers = [
            (Norm("rms"), Linear(self.cfg.width, "contract", part="recurrent"))
            for _ in range(self.cfg.depth)
        ]
        self.norm, self.head = Norm("rms"), Linear(self.cfg.vocab, "readout")

    def features(self, inputs):
        x_BLD, keep = self.embed(inputs.tokens), jnp.full(inputs.tokens.shape, 0.8)
        if self.isolates and inputs.segments is not None:
            before = jnp.pad(inputs.segments, ((0, 0), (1, 0)))[:, :-1]
            keep = keep * (inputs.segments == before)
        for norm, mix in self.layers:
            x_BLD = x_BLD + mix(nn.gelu(averages(norm(x_BLD), keep[..., None])))
        return self.norm(x_BLD)

    def readout(self, x_BLD):
        return self.head(x_BLD).astype(jnp.float32)

    def __call__(self, inputs):
        return self.readout(self.features(inputs))


FORGETFUL = Family(Config, Model, scope="causal")

# %%
# The laws of models, each tried on tiny shapes. ``lm-lab check my_research.models.mean`` does the
# same to a file:


def judge(family):
    subject = models.subject(family, {})
    for finding in laws.check(models.laws(subject), subject):
        print(f"{finding.law}: {finding.fault or 'holds'}")


judge(FORGETFUL)

# %%
# The line names what is wrong and where to look. With the average begun anew in each document all
# laws hold:

MEAN = Family(Config, lambda cfg: Model(cfg, isolates=True), scope="causal")
judge(MEAN)

# %%
# A config names a family by the value itself (in files: by the dotted path of its module), and then
# everything else is there: training, counting, sweeps, reports.

config = {
    "model": {"family": MEAN, "width": 32},
    "objective": {"name": "causal"},
    "data": {"source": {"name": "synthetic", "documents": 64}, "length": 16},
    "optimizer": {"peak_rate": 0.02},
    "schedule": {"name": "cosine", "warmup_steps": 2},
    "train": {"steps": STEPS, "batch_size": 8, "eval_batches": 4},
}
run = lm_lab.train_run(config, "runs/mean")
run.figure()

# %%
# Parameters by group, and FLOPs, are counted from the program that was traced:

print({name: size for name, size in run.result["params"].items() if size})
print(run.result["flops_per_token"]["counted"], "FLOPs a token")
