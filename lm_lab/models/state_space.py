"""State-space decoders: Mamba (2312.00752), and Griffin and Hawk (2402.19427) as RecurrentGemma
(2404.07839) has them.

Either mixes with local attention, in every attention_every-th layer; layers left over have none.
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn import scans, transfer
from lm_lab.nn.attention import Attention, AttentionShape, Kernel, bounded
from lm_lab.nn.attention_info import AttentionInfo, CausalInfo
from lm_lab.nn.dropout import Dropout
from lm_lab.nn.feed_forward import FeedForward
from lm_lab.nn.linear import WIDEST, Embedding, Linear, constrain
from lm_lab.nn.norm import Kind, Norm
from lm_lab.nn.positions import Rotary, Scheme, Sizes, positions_setting
from lm_lab.nn.segments import SegmentInfo, Segments
from lm_lab.nn.stack import DEEPEST, Remat, repeat
from lm_lab.nn.state_space import Recurrent, Selective
from lm_lab.nn.transfer import base_depth_setting, base_width_setting
from lm_lab.nn.transformer import View
from lm_lab.schema import Condition, choice, setting
from lm_lab.types import Inputs, UserError


@dataclass(frozen=True)
class Mamba:
    """A selective scan (2312.00752)."""

    state: int = setting("numbers of state a feature, S", 16, low=1)
    step_rank: int | None = setting("rank of the step sizes; None: D / 16, rounded up", None, low=1)


@dataclass(frozen=True)
class RgLru:
    """Griffin's real-gated linear recurrent unit (2402.19427)."""


ATTENDING = Condition("attention_every", lambda config: config.attention_every is not None)
HAVING_HEADS = Condition(
    "attention_every or block rg_lru",
    lambda config: config.attention_every is not None or isinstance(config.block, RgLru),
)


@dataclass(frozen=True)
class Config:
    """The settings of a config's model section. Raises UserError for a combination that does not
    work.
    """

    block: Mamba | RgLru = choice("what mixes tokens", {"mamba": Mamba, "rg_lru": RgLru}, Mamba())
    width: int = setting("residual stream, D", 128, low=1, high=WIDEST)
    depth: int = setting("layers, N", 4, low=1, high=DEEPEST)
    recurrent_width: int | None = setting(
        "features with a state; None: 2 D for mamba, D for rg_lru", None, low=1
    )
    convolution: int = setting(
        "tokens that the convolution before the recurrence sees, W", 4, low=1
    )
    attention_every: int | None = setting(
        "every n-th layer attends in place of recurring; None: no layer", None, low=1
    )
    window: int = setting(
        "tokens that attention sees, its own included", 1024, low=1, read_with=ATTENDING
    )
    heads: int = setting(
        "attention heads, H, and diagonal blocks of rg_lru's gates",
        4,
        low=1,
        read_with=HAVING_HEADS,
    )
    kv_heads: int | None = setting(
        "heads of keys and values, G, each for H / G queries; None: H",
        1,
        low=1,
        read_with=ATTENDING,
    )
    positions: Scheme = positions_setting(Rotary(share=0.5), ATTENDING)
    feed_forward_dim: int | None = setting(
        "gated inner features, F; None: 3 D for rg_lru, no such layer for mamba", None, low=1
    )
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)
    norm: Kind = setting("RMSNorm or LayerNorm", "rms")
    norm_epsilon: float = setting("added to the mean square under the root", 1e-6, low=0.0)
    bias: bool = setting(
        "whether products have an offset, but for queries, keys, values and the head", False
    )
    conv_bias: bool = setting("whether the convolution has an offset", True)
    logit_softcap: float | None = setting("bound of the logits, c tanh(z / c)", None, low=1e-3)
    embedding_scaled: bool = setting(
        "whether the embedding enters the stream times sqrt(D), as Gemma's does", False
    )
    tied: bool = setting("whether the head is the embedding's transpose", False)
    base_width: int | None = base_width_setting()
    base_depth: int | None = base_depth_setting()
    dropout: float = setting(
        "probability that a feature entering the stream is dropped", 0.0, low=0.0, high=0.99
    )
    scan: bool = setting(
        "scan over layers (compiles once at any depth) or unroll (faster when small)", False
    )
    remat: Remat = setting("what the backward pass computes again", "none", reference="none")
    attention_kernel: Kernel = setting("which attention kernel", "auto", reference="plain")
    scan_kernel: scans.Kernel = setting(
        "how a recurrence runs; auto: token by token on a CPU, else as a tree",
        "auto",
        reference="sequential",
    )

    def __post_init__(self) -> None:
        transfer.check(
            self,
            embedding_scaled=self.embedding_scaled,
            attention_every=self.attention_every is not None,
            rg_lru=isinstance(self.block, RgLru),
        )
        if isinstance(self.block, RgLru) and self.inner % self.heads:
            raise UserError(
                f"recurrent_width {self.inner} is not divisible by heads {self.heads}; choose a "
                "multiple"
            )
        if self.attention_every is None:
            return
        if self.width % self.heads:
            raise UserError(
                f"width {self.width} is not divisible by heads {self.heads}; choose a multiple"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise UserError(
                f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}; choose a divisor"
            )
        if self.positions.limits_length:
            raise UserError("learned positions limit the length of a text; choose other positions")
        self.positions.check(self.sizes)

    @property
    def inner(self) -> int:
        """Features with a state, with the default filled in."""
        return self.recurrent_width or (
            2 * self.width if isinstance(self.block, Mamba) else self.width
        )

    @property
    def hidden(self) -> int | None:
        """F, with its default filled in; None where layers have no feed-forward part."""
        return self.feed_forward_dim or (None if isinstance(self.block, Mamba) else 3 * self.width)

    @property
    def rank(self) -> int:
        """Rank of Mamba's step sizes, with the default filled in."""
        rank = self.block.step_rank if isinstance(self.block, Mamba) else None
        return rank or math.ceil(self.width / 16)

    @property
    def sizes(self) -> Sizes:
        """What position schemes need to know of the model."""
        return Sizes(self.width, self.heads, self.width // self.heads)

    @property
    def groups(self) -> tuple[int, int]:
        """(groups that end in attention, layers left over)."""
        return (
            (0, self.depth)
            if self.attention_every is None
            else divmod(self.depth, self.attention_every)
        )

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions."""
        return self.groups[0], self.heads, self.width // self.heads

    @property
    def attention(self) -> AttentionShape:
        """The shape of attention in the layers that attend."""
        return AttentionShape(
            self.heads,
            self.width // self.heads,
            kv_heads=self.kv_heads,
            out_bias=self.bias,
            positions=self.positions,
            window=self.window,
        )

    def make_norm(self, name: str | None = None) -> Norm:
        """A norm of the stream."""
        return Norm(self.norm, self.norm_epsilon, name=name)


class Block(nn.Module):
    """One layer: a mixer, and a feed-forward part where there is one, each normalised and added to
    the stream.
    """

    cfg: Config
    attends: bool = False

    @nn.compact
    def __call__(
        self, x_BLD: Array, segments: SegmentInfo, view: View | None
    ) -> tuple[Array, None]:
        cfg = self.cfg
        branches = cfg.depth * (1 if cfg.hidden is None else 2)
        scale = branches**-0.5 * transfer.branch_scale(cfg)  # they add up to unit variance at first
        drop = Dropout(cfg.dropout, deterministic=not self.has_rng("dropout"))
        mixed = drop(self._mix(cfg.make_norm("mixer_norm")(x_BLD), segments, view, scale))
        x_BLD += transfer.entering(cfg, mixed)
        if cfg.hidden is not None:
            feed_forward = FeedForward(cfg.hidden, "geglu", scale, cfg.bias, name="feed_forward")
            added = drop(feed_forward(cfg.make_norm("feed_forward_norm")(x_BLD)))
            x_BLD += transfer.entering(cfg, added)
        return constrain(x_BLD), None

    def _mix(self, x_BLD: Array, segments: SegmentInfo, view: View | None, scale: float) -> Array:
        cfg = self.cfg
        if self.attends:
            assert view is not None
            attention = Attention(cfg.attention, scale, cfg.attention_kernel, name="attention")
            return attention(x_BLD, *view)
        kernel_size, kernel, bias, conv_bias = (
            cfg.convolution,
            cfg.scan_kernel,
            cfg.bias,
            cfg.conv_bias,
        )
        if isinstance(cfg.block, Mamba):
            mixer = Selective(
                cfg.inner,
                cfg.block.state,
                cfg.rank,
                kernel_size,
                scale,
                kernel,
                bias,
                conv_bias,
                name="state_space",
            )
        else:
            mixer = Recurrent(
                cfg.inner, cfg.heads, kernel_size, scale, kernel, bias, conv_bias, name="recurrent"
            )
        return mixer(x_BLD, segments)


class Group(nn.Module):
    """Layers of which the last attends: block_0, block_1, ..."""

    cfg: Config

    @nn.compact
    def __call__(
        self, x_BLD: Array, segments: SegmentInfo, view: View | None
    ) -> tuple[Array, None]:
        size = self.cfg.attention_every or 1
        for index in range(size):
            x_BLD, _ = Block(self.cfg, index == size - 1, name=f"block_{index}")(
                x_BLD, segments, view
            )
        return x_BLD, None


class Model(nn.Module):
    """Tokens to features to next-token logits. It trains (drops features) where it is given a
    "dropout" key.
    """

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        groups, leftover = cfg.groups
        self.embed = Embedding(cfg.vocab, cfg.width, transfer.embedding_scale(cfg))
        self.segments = Segments(cfg.convolution)
        self.drop = Dropout(cfg.dropout)
        if groups:
            self.causal_info = CausalInfo(cfg.window)
            self.positions = cfg.positions.module(cfg.sizes)
            self.groups = repeat(self, Group, groups, cfg)(cfg)
        if leftover:
            self.layers = repeat(self, Block, leftover, cfg)(cfg)
        self.norm = cfg.make_norm()
        if not cfg.tied:
            self.head = Linear(cfg.vocab, "readout", transfer.head_scale(cfg))

    def features(self, inputs: Inputs) -> Array:
        """Normalised features [B L D], in the dtype of the parameters, of
        inputs.tokens i32[B L].
        """
        cfg, (groups, leftover) = self.cfg, self.cfg.groups
        segments = self.segments(inputs)
        view = self._view(self.causal_info(inputs)) if groups else None
        x_BLD = self.embed(inputs.tokens)
        if cfg.embedding_scaled:  # the root in bfloat16, as Gemma's checkpoints were trained
            x_BLD *= jnp.bfloat16(cfg.width**0.5).astype(x_BLD.dtype)
        if view is not None:
            if cfg.positions.scales_embedding:
                x_BLD *= cfg.width**0.5
            x_BLD = cfg.positions.embed(x_BLD, view.info.positions_BL, self.positions)
        x_BLD = constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))
        if groups:
            x_BLD, _ = self.groups(x_BLD, segments, view)
        if leftover:
            x_BLD, _ = self.layers(x_BLD, segments, view)
        return self.norm(x_BLD)

    def _view(self, info: AttentionInfo) -> View:
        bias = self.cfg.positions.bias(info.distance_LM, self.cfg.heads, self.positions)
        return View(info, bias)

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        logits_BLV = self.embed.attend(x_BLD) if self.cfg.tied else self.head(x_BLD)
        return bounded(logits_BLV.astype(jnp.float32), self.cfg.logit_softcap)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))


FAMILY = Family(
    Config,
    Model,
    scope="causal",
    attention=lambda cfg: AttentionGeometry(*cfg.attention_geometry),
    is_recurrent=lambda cfg: cfg.groups[0] == 0,
    width_ratio=transfer.width_ratio,
)
