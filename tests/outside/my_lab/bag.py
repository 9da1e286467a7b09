"""A family: a bag of the words of a document so far, their mean, through one layer."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp

from lm_lab.contracts import Family
from lm_lab.nn.linear import Embedding, Linear
from lm_lab.nn.positions import places_within
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
        x, segments = self.embed(inputs.tokens), inputs.segments
        places = places_within(jnp.ones_like(inputs.tokens) if segments is None else segments)
        sums = jnp.pad(jnp.cumsum(x, 1), ((0, 0), (1, 0), (0, 0)))
        before = jnp.arange(x.shape[1]) - places  # tokens of the row before the document
        of_document = sums[:, 1:] - jnp.take_along_axis(sums, before[..., None], 1)
        return nn.tanh(self.mix(of_document / (places + 1)[..., None] + x))

    def readout(self, x):
        return self.head(x).astype(jnp.float32)

    def __call__(self, inputs):
        return self.readout(self.features(inputs))


FAMILY = Family(Config, Model, scope="causal")
