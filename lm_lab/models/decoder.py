"""The decoder transformer: shapes of GPT-2 (Radford 2019), LLaMA (2302.13971) and their relatives,
from one config.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn.attention import Attention, AttentionShape, bounded
from lm_lab.nn.attention_info import AttentionInfo, CausalInfo
from lm_lab.nn.linear import Embedding, Linear, OutputBias, constrain
from lm_lab.nn.norm import Kind
from lm_lab.nn.positions import RelativeBias, Rotary, Scaling, alibi_bias, sinusoidal
from lm_lab.nn.stack import DEEPEST, groups_of, repeat, stacks_of
from lm_lab.nn.transformer import Transformer
from lm_lab.schema import setting
from lm_lab.types import Inputs, Scope, UserError

Bias = Literal["none", "qkv", "attention", "feed_forward", "all"]
Scheme = Literal["rotary", "learned", "sinusoidal", "alibi", "relative", "none"]


@dataclass(frozen=True)
class Config(Transformer):
    """The fields of a config's model section. Raises UserError for settings that do not go
    together.
    """

    depth: int = setting("layers, N", 4, low=1, high=DEEPEST)
    heads: int = setting("attention heads, H", 4, low=1)
    kv_heads: int | None = setting(
        "heads of keys and values, G, each for H / G queries; None: H", None, low=1
    )
    head_dim: int | None = setting("features of a head, K; None: they share the width", None, low=1)
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)
    length: int | None = setting(
        "longest sequence that learned positions allow; None: the data's", None, low=1
    )
    positions: Scheme = setting("how order is seen", "rotary")
    rotary_base: float = setting(
        "slowest wavelength of rotary positions, over 2 pi", 10_000.0, low=1.0
    )
    rotary_scaling: Scaling = setting(
        "how rotary positions reach beyond the length they were learnt at", "none"
    )
    rotary_factor: float = setting("by how much it slows the turning", 1.0, low=1.0)
    rotary_low_factor: float = setting(
        "llama3: slows in full what turns less often in rotary_length", 1.0, low=0.0
    )
    rotary_high_factor: float = setting(
        "llama3: leaves alone what turns more often in rotary_length", 4.0, low=0.0
    )
    rotary_length: int = setting("llama3: the length that positions were learnt at", 8192, low=1)
    rotary_share: float = setting(
        "of a head's features that rotary positions turn", 1.0, low=0.0, high=1.0
    )
    bias: Bias = setting("which products of the layers have an offset", "none")
    head_bias: bool = setting("whether the head has an offset", False)
    window: int | None = setting(
        "tokens that a query sees, itself included; None: all the past", None, low=1
    )
    global_every: int | None = setting(
        "of so many layers the last has no window; None: no layer is so", None, low=2
    )
    window_rotary_base: float | None = setting(
        "rotary_base of layers with a window, unscaled; None: as all", None, low=1.0
    )
    qk_norm: Kind | None = setting("norm of each query and key", None)
    qk_norm_over: Literal["head", "heads"] = setting(
        "whether qk_norm is of each head, or of all as one vector", "head"
    )
    attention_scale: float | None = setting(
        "what attention scores are multiplied by; None: K^-1/2", None, low=1e-6
    )
    attention_softcap: float | None = setting(
        "bound of the attention scores, c tanh(s / c)", None, low=1e-3
    )
    logit_softcap: float | None = setting("bound of the logits, c tanh(z / c)", None, low=1e-3)
    parallel: bool = setting(
        "whether attention and feed-forward read the same stream and add up (GPT-J, PaLM)", False
    )
    parallel_norms: bool = setting(
        "whether each of the two then has a norm of its own (GPT-NeoX)", False
    )
    norm_position: Literal["pre", "branch", "both"] = setting(
        "whether what a branch reads is normalised, what it adds (OLMo 2), or both (Gemma 2)", "pre"
    )
    embedding_scaling: bool = setting("whether embeddings are multiplied by sqrt(D)", False)
    tied: bool = setting("whether the head is the embedding's transpose", False)

    scope: ClassVar[Scope] = "causal"
    reads_context: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_rotary()
        super().__post_init__()

    def _check_sizes(self) -> None:
        if self.head_dim is None and self.width % self.heads:
            raise UserError(
                f"width {self.width} is not divisible by heads {self.heads}; choose a multiple, "
                "or set head_dim"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise UserError(
                f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}; choose a divisor"
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"sinusoidal positions need an even width, not {self.width}")
        if self.window is None and (self.global_every or self.window_rotary_base):
            raise UserError(
                "global_every and window_rotary_base are for models with a window; set window"
            )
        if self.parallel_norms and not self.parallel:
            raise UserError(
                "parallel_norms is for parallel branches; set parallel, or leave it out"
            )
        if self.parallel and self.norm_position != "pre":
            raise UserError(
                f"norm_position {self.norm_position} is for branches one after another, not "
                "parallel ones"
            )

    def _check_rotary(self) -> None:
        if self.positions == "rotary" and self.features_of_head % 2 and self.rotary_share == 1:
            raise UserError(
                "rotary positions need an even width / heads or head_dim, not "
                f"{self.features_of_head}"
            )
        if self.positions == "rotary" and int(self.rotary_share * self.features_of_head) % 2:
            raise UserError(
                f"rotary_share {self.rotary_share} of {self.features_of_head} features is odd; "
                "change it"
            )
        if self.rotary_scaling == "none" and self.rotary_factor != 1.0:
            raise UserError(
                f"rotary_factor {self.rotary_factor} needs rotary_scaling linear or llama3"
            )
        if self.rotary_scaling != "none" and self.positions != "rotary":
            raise UserError(
                f"rotary_scaling is for positions rotary, not {self.positions}; set it to none"
            )
        if self.rotary_low_factor >= self.rotary_high_factor:
            raise UserError(
                f"rotary_low_factor {self.rotary_low_factor} is not below rotary_high_factor "
                f"{self.rotary_high_factor}"
            )

    @property
    def features_of_head(self) -> int:
        """K, with its default filled in."""
        return self.head_dim or self.width // self.heads

    @property
    def stacks(self) -> tuple[tuple[str, range], ...]:
        """The paths of parameters that hold layers, and the numbers of these."""
        return stacks_of(self.depth, self.global_every)

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions."""
        return self.depth, self.heads, self.features_of_head

    def rotary(self, *, window: bool) -> Rotary | None:
        """How positions turn queries and keys, in layers with a window or without."""
        if self.positions != "rotary":
            return None
        if window and self.window_rotary_base is not None:
            return Rotary(self.window_rotary_base, share=self.rotary_share)
        return Rotary(
            self.rotary_base,
            self.rotary_scaling,
            self.rotary_factor,
            self.rotary_low_factor,
            self.rotary_high_factor,
            self.rotary_length,
            self.rotary_share,
        )

    def attention(self, *, window: bool) -> AttentionShape:
        """The shape of attention in layers with a window, where there is one, or without."""
        return AttentionShape(
            self.heads,
            self.features_of_head,
            kv_heads=self.kv_heads,
            bias=self.bias in ("qkv", "attention", "all"),
            out_bias=self.bias in ("attention", "all"),
            norm=self.qk_norm,
            norm_whole=self.qk_norm_over == "heads",
            norm_epsilon=self.norm_epsilon,
            scale=self.attention_scale,
            softcap=self.attention_softcap,
            rotary=self.rotary(window=window),
            window=self.window if window else None,
        )


class View(NamedTuple):
    """What the layers with a window, or those without, are told of a call."""

    info: AttentionInfo
    bias: Array | None  # f32[1|B, H, L, M], added to the scores


class Block(nn.Module):
    """One layer: attention and feed-forward, each normalised on the way in, or out, and added to
    the stream.
    """

    cfg: Config
    window: bool = True  # whether it has the config's

    @nn.compact
    def __call__(self, x_BLD: Array, view: View) -> tuple[Array, None]:
        cfg = self.cfg
        scale = (
            2 * cfg.depth
        ) ** -0.5  # 2N branches add up to unit variance at initialisation (GPT-2)
        drop = nn.Dropout(cfg.dropout, deterministic=not self.has_rng("dropout"))
        attention = Attention(
            cfg.attention(window=self.window), scale, cfg.attention_kernel, name="attention"
        )
        feed_forward = cfg.make_layer(scale, cfg.bias in ("feed_forward", "all"), view.info)
        y_BLD = self._norm("attention_norm", x_BLD)
        z_BLD = self._norm("feed_forward_norm", x_BLD) if cfg.parallel_norms else y_BLD
        x_BLD += drop(self._norm("attention_out_norm", attention(y_BLD, *view)))
        if not cfg.parallel:
            z_BLD = self._norm("feed_forward_norm", x_BLD)
        x_BLD += drop(self._norm("feed_forward_out_norm", feed_forward(z_BLD)))
        return constrain(x_BLD), None

    def _norm(self, name: str, x_BLD: Array) -> Array:
        """x normalised, where a branch has that norm."""
        kinds = ("branch", "both") if name.endswith("out_norm") else ("pre", "both")
        return self.cfg.make_norm(name)(x_BLD) if self.cfg.norm_position in kinds else x_BLD


class Group(nn.Module):
    """Layers of which the last has no window: block_0, block_1, ..."""

    cfg: Config

    @nn.compact
    def __call__(self, x_BLD: Array, view: View, whole: View) -> tuple[Array, None]:
        last = (self.cfg.global_every or 1) - 1
        for index in range(last):
            x_BLD, _ = Block(self.cfg, name=f"block_{index}")(x_BLD, view)
        return Block(self.cfg, window=False, name=f"block_{last}")(x_BLD, whole)


class Model(nn.Module):
    """Tokens to features to next-token logits. It trains (drops features) where it is given a
    "dropout" key.
    """

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
        self.causal_info = CausalInfo(cfg.window)
        self.drop = nn.Dropout(cfg.dropout)
        groups, rest = groups_of(cfg.depth, cfg.global_every)
        if groups:
            self.global_info = CausalInfo()
            self.groups = repeat(Group, groups, scan=cfg.scan, remat=cfg.remat)(cfg)
        if rest:
            self.layers = repeat(Block, rest, scan=cfg.scan, remat=cfg.remat)(cfg)
        self.norm = cfg.make_norm()
        if not cfg.tied:
            self.head = Linear(cfg.vocab, "readout", bias=cfg.head_bias)
        elif cfg.head_bias:
            self.head = OutputBias(cfg.vocab)

    def features(self, inputs: Inputs) -> Array:
        """Normalised features [B L D], in the dtype of the parameters, of
        inputs.tokens i32[B L].
        """
        info, (groups, rest) = (
            self.causal_info(inputs),
            groups_of(self.cfg.depth, self.cfg.global_every),
        )
        x_BLD = self.embed(inputs.tokens)
        if self.cfg.embedding_scaling:
            x_BLD *= self.cfg.width**0.5
        if self.cfg.positions == "learned":
            x_BLD += self.positions(info.positions_BL)
        if (
            self.cfg.positions == "sinusoidal"
        ):  # of unit size, so the embedding is made so too (1706.03762, 3.4)
            waves_BLD = sinusoidal(info.positions_BL, self.cfg.width)
            x_BLD = x_BLD * self.cfg.width**0.5 + waves_BLD.astype(x_BLD.dtype)
        x_BLD = constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))
        view = View(info, self._bias(info))
        if groups:
            whole = self.global_info(inputs)
            x_BLD, _ = self.groups(x_BLD, view, View(whole, self._bias(whole)))
        if rest:
            x_BLD, _ = self.layers(x_BLD, view)
        return self.norm(x_BLD)

    def _bias(self, info: AttentionInfo) -> Array | None:
        """What is added to the scores of every layer's attention."""
        if self.cfg.positions == "alibi":
            return alibi_bias(info.distance_LM, self.cfg.heads)
        return self.positions(info.distance_LM) if self.cfg.positions == "relative" else None

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        logits_BLV = self.embed.attend(x_BLD) if self.cfg.tied else self.head(x_BLD)
        if self.cfg.tied and self.cfg.head_bias:
            logits_BLV = self.head(logits_BLV)
        return bounded(logits_BLV.astype(jnp.float32), self.cfg.logit_softcap)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))


FAMILY = Family(
    Config,
    Model,
    scope="causal",
    attention=lambda cfg: AttentionGeometry(*cfg.attention_geometry),
    max_length=lambda cfg: cfg.length if cfg.positions == "learned" else None,
    experts_per_token=lambda cfg: cfg.experts_per_token,
)
