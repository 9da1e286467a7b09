"""Word vectors (1301.3781, 1310.4546): an input and an output embedding of words."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Family
from lm_lab.nn.linear import WIDEST, Embedding
from lm_lab.schema import setting
from lm_lab.types import Inputs


@dataclass(frozen=True)
class Config:
    """The fields of a config's model section."""

    width: int = setting("features of a word, D", 128, low=1, high=WIDEST)
    vocab: int | None = setting("words, V; None: the tokenizer's", None, low=1)


class Model(nn.Module):
    """Words to the scores of words near them; no softmax over the vocabulary is learnt
    (objectives/word2vec.py).
    """

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        self.embed = Embedding(cfg.vocab, cfg.width)
        self.head = Embedding(cfg.vocab, cfg.width, part="head")

    def features(self, inputs: Inputs) -> Array:
        """The vectors [B L D] of inputs.tokens i32[B L]; of bags i32[B L G], the mean of their
        unpadded words.
        """
        x = self.embed(inputs.tokens)
        if inputs.tokens.ndim == 2:
            return x
        assert inputs.segments is not None
        there_BLG1 = (inputs.segments > 0)[..., None].astype(x.dtype)
        return (x * there_BLG1).sum(2) / jnp.maximum(there_BLG1.sum(2), 1)

    def readout(self, x_BLD: Array, candidates_BLC: Array | None = None) -> Array:
        """Scores f32[B L C] of the candidates i32[B L C], f32[B L V] of all words where there are
        none.
        """
        if candidates_BLC is None:
            return self.head.attend(x_BLD).astype(jnp.float32)
        return jnp.einsum(
            "bld,blcd->blc", x_BLD, self.head(candidates_BLC), preferred_element_type=jnp.float32
        )

    def __call__(self, inputs: Inputs) -> Array:
        """Scores as `readout` gives them; inputs.context, where it is given, holds the candidates
        i32[B L C].
        """
        return self.readout(self.features(inputs), inputs.context)


FAMILY = Family(Config, Model, scope="unordered")
