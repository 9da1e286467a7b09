"""The pre-norm decoder transformer: GPT-2's (Radford 2019) and LLaMA's (2302.13971) shapes from one config."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.nn.attention import Attention, Heads, bounded
from lm_lab.nn.linear import Embedding, Linear, constrain
from lm_lab.nn.norm import Kind
from lm_lab.nn.positions import RelativeBias, Rotary, Scaling, alibi_bias, sinusoidal
from lm_lab.nn.sight import Sight, Timeline
from lm_lab.nn.stack import repeat
from lm_lab.nn.transformer import Transformer
from lm_lab.schema import setting
from lm_lab.types import Inputs, Sees, UserError

Scheme = Literal["rotary", "learned", "sinusoidal", "alibi", "relative", "none"]


@dataclass(frozen=True)
class Config(Transformer):
    """The fields of a config's model section. Raises UserError for settings that do not go together."""

    depth: int = setting("layers, N", 4, low=1)
    heads: int = setting("attention heads, H", 4, low=1)
    kv_heads: int | None = setting("heads of keys and values, G, each for H / G queries; None: H", None, low=1)
    head_dim: int | None = setting("features of a head, K; None: they share the width", None, low=1)
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)
    length: int | None = setting("longest sequence that learned positions allow; None: the data's", None, low=1)
    positions: Scheme = setting("how order is seen", "rotary")
    rotary_base: float = setting("slowest wavelength of rotary positions, over 2 pi", 10_000.0, low=1.0)
    rotary_scaling: Scaling = setting("how rotary positions reach beyond the length they were learnt at", "none")
    rotary_factor: float = setting("by how much it slows the turning", 1.0, low=1.0)
    rotary_low_factor: float = setting("llama3: slows in full what turns less often in rotary_length", 1.0, low=0.0)
    rotary_high_factor: float = setting("llama3: leaves alone what turns more often in rotary_length", 4.0, low=0.0)
    rotary_length: int = setting("llama3: the length that positions were learnt at", 8192, low=1)
    bias: Literal["none", "qkv", "attention", "all"] = setting("which products have an offset; the head never", "none")
    window: int | None = setting("tokens that a query sees, itself included; None: all the past", None, low=1)
    qk_norm: Kind | None = setting("norm of each query and key", None)
    attention_softcap: float | None = setting("bound of the attention scores, c tanh(s / c)", None, low=1e-3)
    logit_softcap: float | None = setting("bound of the logits, c tanh(z / c)", None, low=1e-3)
    parallel: bool = setting("whether attention and feed-forward read one norm and add up (GPT-J, PaLM)", False)
    tied: bool = setting("whether the head is the embedding's transpose", False)

    sees: ClassVar[Sees] = "past"
    reads_context: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_rotary()
        super().__post_init__()

    def _check_sizes(self) -> None:
        if self.head_dim is None and self.width % self.heads:
            raise UserError(
                f"width {self.width} is not divisible by heads {self.heads}; choose a multiple, or set head_dim"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise UserError(f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}; choose a divisor")
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"sinusoidal positions need an even width, not {self.width}")

    def _check_rotary(self) -> None:
        if self.positions == "rotary" and self.features_of_head % 2:
            raise UserError(f"rotary positions need an even width / heads or head_dim, not {self.features_of_head}")
        if self.rotary_scaling == "none" and self.rotary_factor != 1.0:
            raise UserError(f"rotary_factor {self.rotary_factor} needs rotary_scaling linear or llama3")
        if self.rotary_scaling != "none" and self.positions != "rotary":
            raise UserError(f"rotary_scaling is for positions rotary, not {self.positions}; set it to none")
        if self.rotary_low_factor >= self.rotary_high_factor:
            raise UserError(
                f"rotary_low_factor {self.rotary_low_factor} is not below rotary_high_factor {self.rotary_high_factor}"
            )

    @property
    def features_of_head(self) -> int:
        """K, with its default filled in."""
        return self.head_dim or self.width // self.heads

    @property
    def stacks(self) -> tuple[tuple[str, range], ...]:
        """The paths of parameters that hold layers, and the numbers of these."""
        return (("layers", range(self.depth)),)

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions."""
        return self.depth, self.heads, self.features_of_head

    @property
    def rotary(self) -> Rotary | None:
        """How positions turn queries and keys."""
        if self.positions != "rotary":
            return None
        return Rotary(
            self.rotary_base,
            self.rotary_scaling,
            self.rotary_factor,
            self.rotary_low_factor,
            self.rotary_high_factor,
            self.rotary_length,
        )

    @property
    def attention(self) -> Heads:
        """The shape of attention in every layer."""
        return Heads(
            self.heads,
            self.features_of_head,
            kv_heads=self.kv_heads,
            bias=self.bias != "none",
            out_bias=self.bias in ("attention", "all"),
            norm=self.qk_norm,
            norm_epsilon=self.norm_epsilon,
            softcap=self.attention_softcap,
            rotary=self.rotary,
            window=self.window,
        )


class Block(nn.Module):
    """One layer: attention and feed-forward, each normalised on the way in and added to the stream."""

    cfg: Config

    @nn.compact
    def __call__(self, x_BLD: Array, sight: Sight, bias: Array | None = None) -> tuple[Array, None]:
        cfg = self.cfg
        scale = (2 * cfg.depth) ** -0.5  # 2N branches add up to unit variance at initialisation (GPT-2)
        drop = nn.Dropout(cfg.dropout, deterministic=not self.has_rng("dropout"))
        attention = Attention(cfg.attention, scale, cfg.attention_kernel, name="attention")
        y_BLD = cfg.make_norm("attention_norm")(x_BLD)
        x_BLD += drop(attention(y_BLD, sight, bias))
        if not cfg.parallel:
            y_BLD = cfg.make_norm("feed_forward_norm")(x_BLD)
        x_BLD += drop(cfg.make_layer(scale, cfg.bias == "all", sight)(y_BLD))
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
        if cfg.positions == "relative":
            self.positions = RelativeBias(cfg.heads)
        self.timeline = Timeline(cfg.window)
        self.drop = nn.Dropout(cfg.dropout)
        self.layers = repeat(Block, cfg.depth, scan=cfg.scan, remat=cfg.remat)(cfg)
        self.norm = cfg.make_norm()
        if not cfg.tied:
            self.head = Linear(cfg.vocab, "readout")

    def features(self, inputs: Inputs) -> Array:
        """Normalised features [B L D], in the dtype of the parameters, of inputs.tokens i32[B L]."""
        sight = self.timeline(inputs)
        x_BLD = self.embed(inputs.tokens)
        if self.cfg.positions == "learned":
            x_BLD += self.positions(sight.positions_BL)
        if self.cfg.positions == "sinusoidal":  # of unit size, so the embedding is made so too (1706.03762, 3.4)
            waves_BLD = sinusoidal(sight.positions_BL, self.cfg.width)
            x_BLD = x_BLD * self.cfg.width**0.5 + waves_BLD.astype(x_BLD.dtype)
        x_BLD = constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))
        x_BLD, _ = self.layers(x_BLD, sight, self._bias(sight))
        return self.norm(x_BLD)

    def _bias(self, sight: Sight) -> Array | None:
        """What is added to the scores of every layer's attention."""
        if self.cfg.positions == "alibi":
            return alibi_bias(sight.distance_LM, self.cfg.heads)
        return self.positions(sight.distance_LM) if self.cfg.positions == "relative" else None

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        logits_BLV = self.embed.attend(x_BLD) if self.cfg.tied else self.head(x_BLD)
        return bounded(logits_BLV.astype(jnp.float32), self.cfg.logit_softcap)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))
