"""Recurrent language models: Elman's network, the GRU (1406.1078) and the LSTM, stacked; one config
for all.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import Family
from lm_lab.nn import transfer
from lm_lab.nn.cells import Name
from lm_lab.nn.dropout import Dropout
from lm_lab.nn.linear import WIDEST, Embedding, Linear, OutputBias, constrain
from lm_lab.nn.norm import Kind, Norm
from lm_lab.nn.recurrent import Implementation, Recurrent
from lm_lab.nn.segments import SegmentInfo, Segments
from lm_lab.nn.stack import DEEPEST, Remat, repeat
from lm_lab.nn.transfer import base_depth_setting, base_width_setting
from lm_lab.schema import setting
from lm_lab.types import Inputs, UserError


@dataclass(frozen=True)
class Config:
    """The fields of a config's model section. Raises UserError for a width that two directions
    cannot share.
    """

    width: int = setting(
        "features of the stream and of a layer's state, D; two directions share them",
        128,
        low=1,
        high=WIDEST,
    )
    depth: int = setting("layers, N", 2, low=1, high=DEEPEST)
    cell: Name = setting("what a layer computes", "lstm")
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)
    bidirectional: bool = setting(
        "whether half of each layer reads every segment from its end", False
    )
    residual: bool = setting("whether a layer is added to the stream, or replaces it", True)
    norm: Kind | None = setting("of what enters a layer and of the features; None: no norm", "rms")
    bias: bool = setting("whether gates have biases", True)
    tied: bool = setting("whether the head is the embedding's transpose", False)
    head_bias: bool = setting("whether the head has a bias", False)
    base_width: int | None = base_width_setting()
    base_depth: int | None = base_depth_setting()
    initial_limit: float | None = setting(
        "parameters, but those of norms, begin uniform between this and its negative (1409.2329); "
        "None: normal, as wide as their inputs ask for, and forget gates open",
        None,
        above=0.0,
    )
    dropout: float = setting(
        "probability that what enters the stream is dropped (1409.2329)", 0.0, low=0.0, high=0.99
    )
    scan: bool = setting(
        "scan over layers (compiles once at any depth) or unroll (faster when small)", False
    )
    remat: Remat = setting("what the backward pass computes again", "none", reference="none")
    recurrent_kernel: Implementation = setting(
        "which kernel: cudnn's is for an LSTM in float32 on a GPU", "auto", reference="plain"
    )

    def __post_init__(self) -> None:
        transfer.check(self, initial_limit=self.initial_limit is not None)
        if self.base_depth is not None and not self.residual:
            raise UserError("base_depth is for residual layers; set residual, or leave it out")
        if self.bidirectional and self.width % 2:
            raise UserError(
                f"width {self.width} cannot be shared by two directions; choose an even one"
            )
        if self.recurrent_kernel == "cudnn" and (self.cell != "lstm" or not self.bias):
            raise UserError("recurrent_kernel cudnn is for cell lstm with bias; choose auto")


class Block(nn.Module):
    """One layer: its input is normalised, and its output is added to the stream or replaces it."""

    cfg: Config

    @nn.compact
    def __call__(self, x_BLD: Array, segments: SegmentInfo) -> tuple[Array, None]:
        cfg = self.cfg
        y = x_BLD if cfg.norm is None else Norm(cfg.norm, name="norm")(x_BLD)
        y = (
            self._both_ways(y, segments)
            if cfg.bidirectional
            else self._recurrent(cfg.width)(y, segments)
        )
        y = Dropout(cfg.dropout, deterministic=not self.has_rng("dropout"))(y)
        return constrain(x_BLD + transfer.entering(cfg, y) if cfg.residual else y), None

    def _both_ways(self, x_BLD: Array, segments: SegmentInfo) -> Array:
        half = self.cfg.width // 2
        ways = (self._recurrent(half), self._recurrent(half, "reverse_recurrent", reverse=True))
        return jnp.concatenate([way(x_BLD, segments) for way in ways], axis=-1)

    def _recurrent(
        self, features: int, name: str = "recurrent", reverse: bool = False
    ) -> Recurrent:
        cfg = self.cfg
        arguments = (cfg.cell, features, cfg.bias, cfg.recurrent_kernel, reverse, cfg.initial_limit)
        return Recurrent(*arguments, name=name)


class Model(nn.Module):
    """Tokens to features to logits. It trains (drops features) where it is
    given a "dropout" key.
    """

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        self.embed = Embedding(
            cfg.vocab, cfg.width, transfer.embedding_scale(cfg), limit=cfg.initial_limit
        )
        self.segments = Segments(reverse=cfg.bidirectional)
        self.drop = Dropout(cfg.dropout)
        self.layers = repeat(self, Block, cfg.depth, cfg)(cfg)
        if cfg.norm is not None:
            self.norm = Norm(cfg.norm)
        if not cfg.tied:
            scale = transfer.head_scale(cfg)
            bias, limit = cfg.head_bias, cfg.initial_limit
            self.head = Linear(cfg.vocab, "readout", scale, bias, limit=limit)
        elif cfg.head_bias:
            self.head = OutputBias(cfg.vocab, cfg.initial_limit)

    def features(self, inputs: Inputs) -> Array:
        """Features [B L D], in the dtype of the parameters, of inputs.tokens i32[B L]."""
        segments = self.segments(inputs)
        x_BLD = self.embed(inputs.tokens)
        x_BLD = constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))
        x_BLD, _ = self.layers(x_BLD, segments)
        return x_BLD if self.cfg.norm is None else self.norm(x_BLD)

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        logits_BLV = self.embed.attend(x_BLD) if self.cfg.tied else x_BLD
        if not self.cfg.tied or self.cfg.head_bias:
            logits_BLV = self.head(logits_BLV)
        return logits_BLV.astype(jnp.float32)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))


FAMILY = Family(
    Config,
    Model,
    scope=lambda cfg: "bidirectional" if cfg.bidirectional else "causal",
    is_recurrent=lambda cfg: not cfg.bidirectional,
    width_ratio=transfer.width_ratio,
)
