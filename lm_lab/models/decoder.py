"""The pre-norm decoder transformer: GPT-2's (Radford 2019) and LLaMA's (2302.13971) shapes from one config."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.attention import Attention, Heads, Kernel
from lm_lab.nn.feed_forward import Activation, FeedForward
from lm_lab.nn.linear import Embedding, Linear, constrain
from lm_lab.nn.norm import Kind, Norm
from lm_lab.nn.positions import Rotary
from lm_lab.nn.sight import Sight, Timeline
from lm_lab.nn.stack import Remat, repeat
from lm_lab.schema import setting
from lm_lab.types import Inputs, Sees, UserError


@dataclass(frozen=True)
class Config:
    """The fields of a config's model section. Raises UserError for sizes that do not divide."""

    width: int = setting("residual stream, D", 128, low=1)
    depth: int = setting("layers, N", 4, low=1)
    heads: int = setting("attention heads, H; they share the width", 4, low=1)
    feed_forward: int | None = setting("inner features, F; None: 4 D for gelu, 8/3 D for swiglu", None, low=1)
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)
    length: int | None = setting("longest sequence that learned positions allow; None: the data's", None, low=1)
    norm: Kind = setting("RMSNorm or LayerNorm", "rms")
    positions: Literal["rotary", "learned", "none"] = setting("how order is seen", "rotary")
    activation: Activation = setting("of the feed-forward layer", "gelu")
    tied: bool = setting("whether the head is the embedding's transpose", False)
    dropout: float = setting("probability that a feature entering the stream is dropped", 0.0, low=0.0, high=0.99)
    scan: bool = setting("scan over layers (compiles once at any depth) or unroll (faster when small)", False)
    remat: Remat = setting("what the backward pass computes again", "none")
    attention_kernel: Kernel = setting("which attention kernel", "auto")

    sees: ClassVar[Sees] = "past"
    reads_context: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"width {self.width} is not divisible by heads {self.heads}; choose a multiple")
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise UserError(f"rotary positions need an even width / heads, not {self.width} / {self.heads}")

    @property
    def inner(self) -> int:
        """F, with its default filled in (8/3 D keeps SwiGLU's parameter count near GELU's 8 D^2)."""
        return self.feed_forward or (4 * self.width if self.activation == "gelu" else round(8 * self.width / 3))

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions."""
        return self.depth, self.heads, self.width // self.heads


class Block(nn.Module):
    """One layer: attention and feed-forward, each normalised on the way in and added to the stream."""

    cfg: Config

    @nn.compact
    def __call__(self, x_BLD: Array, sight: Sight) -> tuple[Array, None]:
        cfg = self.cfg
        scale = (2 * cfg.depth) ** -0.5  # 2N branches add up to unit variance at initialisation (GPT-2)
        drop = nn.Dropout(cfg.dropout, deterministic=not self.has_rng("dropout"))
        rotary = Rotary() if cfg.positions == "rotary" else None
        heads = Heads(cfg.heads, cfg.width // cfg.heads, rotary=rotary)
        attention = Attention(heads, scale, cfg.attention_kernel, name="attention")
        x_BLD += drop(attention(Norm(cfg.norm, name="attention_norm")(x_BLD), sight))
        feed_forward = FeedForward(cfg.inner, cfg.activation, scale, name="feed_forward")
        x_BLD += drop(feed_forward(Norm(cfg.norm, name="feed_forward_norm")(x_BLD)))
        return constrain(x_BLD), None


class Model(nn.Module):
    """Tokens to features to next-token logits. It trains (drops features) where it is given a "dropout" key."""

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        self.embed = Embedding(cfg.vocab, cfg.width)
        if cfg.positions == "learned":
            assert cfg.length is not None, "resolve the config first"
            self.positions = Embedding(cfg.length, cfg.width)
        self.timeline = Timeline()
        self.drop = nn.Dropout(cfg.dropout)
        self.layers = repeat(Block, cfg.depth, scan=cfg.scan, remat=cfg.remat)(cfg)
        self.norm = Norm(cfg.norm)
        if not cfg.tied:
            self.head = Linear(cfg.vocab, "readout")

    def features(self, inputs: Inputs) -> Array:
        """Normalised features [B L D], in the dtype of the parameters, of inputs.tokens i32[B L]."""
        sight = self.timeline(inputs)
        x_BLD = self.embed(inputs.tokens)
        if self.cfg.positions == "learned":
            x_BLD += self.positions(sight.positions_BL)
        x_BLD = constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))
        x_BLD, _ = self.layers(x_BLD, sight)
        return self.norm(x_BLD)

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        logits_BLV = self.embed.attend(x_BLD) if self.cfg.tied else self.head(x_BLD)
        return logits_BLV.astype(jnp.float32)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))
