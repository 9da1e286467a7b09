"""A family: a bag of the words so far, their mean, through one layer."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp

from lm_lab.contracts import Family
from lm_lab.nn.linear import Embedding, Linear
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """The settings of the family."""

    width: int = setting("features", 16, low=1)
    vocab: int | None = setting("rows of the embedding; None: the tokenizer's", None)


class Model(nn.Module):
    """Running means of embeddings."""

    cfg: Config

    def setup(self):
        assert self.cfg.vocab is not None
        self.embed = Embedding(self.cfg.vocab, self.cfg.width)
        self.mix = Linear(self.cfg.width, "expand")
        self.head = Linear(self.cfg.vocab, "readout")

    def features(self, inputs):
        x = self.embed(inputs.tokens)
        return nn.tanh(self.mix(jnp.cumsum(x, 1) / jnp.arange(1, x.shape[1] + 1)[:, None] + x))

    def readout(self, x):
        return self.head(x).astype(jnp.float32)

    def __call__(self, inputs):
        return self.readout(self.features(inputs))


FAMILY = Family(Config, Model, scope="causal")
