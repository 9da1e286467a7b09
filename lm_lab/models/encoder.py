"""The bidirectional transformer: the shapes of BERT (1810.04805) and ModernBERT (2412.13663) from
one config.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn.attention import Attention, AttentionShape
from lm_lab.nn.attention_info import AttentionInfo, bidirectional_info
from lm_lab.nn.feed_forward import ACTIVATIONS, Activation
from lm_lab.nn.linear import Embedding, Linear, OutputBias, constrain
from lm_lab.nn.norm import Kind
from lm_lab.nn.positions import Rotary
from lm_lab.nn.stack import DEEPEST, groups_of, repeat, stacks_of
from lm_lab.nn.transformer import Transformer
from lm_lab.schema import setting
from lm_lab.types import Inputs, Scope, UserError

PLAIN = {
    "swiglu": "gelu",
    "geglu": "gelu",
    "geglu_exact": "gelu_exact",
}  # what the head has where layers are gated


@dataclass(frozen=True)
class Config(Transformer):
    """The fields of a config's model section. Raises UserError for settings that do not go
    together.
    """

    depth: int = setting("layers, N", 4, low=1, high=DEEPEST)
    heads: int = setting("attention heads, H; they share the width", 4, low=1)
    vocab: int | None = setting(
        "rows of the embedding, V; None: the tokenizer's and the objective's", None, low=1
    )
    length: int | None = setting(
        "longest sequence that learned positions allow; None: the data's", None, low=1
    )
    kinds: int = setting("kinds of segments that are told apart (BERT: 2)", 0, low=0)
    norm: Kind = setting("RMSNorm or LayerNorm", "layer")
    norm_bias: bool = setting("whether a LayerNorm has an offset", True)
    norm_position: Literal["pre", "post"] = setting(
        "whether a layer's branches or their sums are normalised", "post"
    )
    embedding_norm: bool = setting("whether the stream is normalised before the first layer", True)
    positions: Literal["learned", "rotary", "none"] = setting("how order is seen", "learned")
    rotary_base: float = setting(
        "slowest wavelength of rotary positions, over 2 pi", 10_000.0, low=1.0
    )
    window: int | None = setting(
        "tokens at this distance and beyond are not seen; None: all are", None, low=1
    )
    global_every: int | None = setting(
        "of so many layers the last has no window; None: no layer is so", None, low=2
    )
    window_rotary_base: float | None = setting(
        "rotary_base of layers with a window; None: as of all", None, low=1.0
    )
    bare_first: bool = setting(
        "whether a layer without a window, and without a norm before its attention, is the "
        "first (ModernBERT)",
        False,
    )
    activation: Activation = setting("of the feed-forward layer", "gelu_exact")
    bias: bool = setting("whether every product has an offset", True)
    tied: bool = setting("whether the head ends in the embedding's transpose", True)

    scope: ClassVar[Scope] = "bidirectional"
    reads_context: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(
                f"width {self.width} is not divisible by heads {self.heads}; choose a multiple"
            )
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise UserError(
                f"rotary positions need an even width / heads, not {self.width} / {self.heads}"
            )
        if self.window is None and (self.global_every or self.window_rotary_base):
            raise UserError(
                "global_every and window_rotary_base are for models with a window; set window"
            )
        if self.bare_first and self.norm_position != "pre":
            raise UserError("bare_first is for norm_position pre; set it, or leave bare_first out")
        super().__post_init__()

    @property
    def groups(self) -> tuple[int, int]:
        """(groups of layers that end in one without a window, layers left over), but for a bare
        first one.
        """
        return groups_of(self.depth - self.bare_first, self.global_every)

    @property
    def stacks(self) -> tuple[tuple[str, range], ...]:
        """The paths of parameters that hold layers, and the numbers of these, but for a bare first
        one.
        """
        return stacks_of(self.depth - self.bare_first, self.global_every, int(self.bare_first))

    def attention(self, *, window: bool) -> AttentionShape:
        """The shape of attention in layers with a window, where there is one, or without."""
        base = (self.window_rotary_base if window else None) or self.rotary_base
        return AttentionShape(
            self.heads,
            self.width // self.heads,
            bias=self.bias,
            out_bias=self.bias,
            rotary=Rotary(base) if self.positions == "rotary" else None,
            window=self.window if window else None,
        )

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions."""
        return self.depth, self.heads, self.width // self.heads


class Block(nn.Module):
    """One layer: attention and feed-forward, each added to the stream, which is normalised before
    or after.
    """

    cfg: Config
    window: bool = True  # whether it has the config's
    bare: bool = False  # whether its attention reads the stream as it is

    @nn.compact
    def __call__(self, x_BLD: Array, info: AttentionInfo) -> tuple[Array, None]:
        cfg = self.cfg
        scale = (2 * cfg.depth) ** -0.5  # 2N branches add up to unit variance at initialisation
        drop = nn.Dropout(cfg.dropout, deterministic=not self.has_rng("dropout"))
        heads = cfg.attention(window=self.window)
        attention = Attention(
            heads, scale, cfg.attention_kernel, mask_scope="bidirectional", name="attention"
        )
        feed_forward = cfg.make_layer(scale, cfg.bias, info)
        attention_norm, feed_forward_norm = (
            cfg.make_norm("attention_norm"),
            cfg.make_norm("feed_forward_norm"),
        )
        if cfg.norm_position == "pre":
            x_BLD += drop(attention(x_BLD if self.bare else attention_norm(x_BLD), info))
            x_BLD += drop(feed_forward(feed_forward_norm(x_BLD)))
        else:
            x_BLD = attention_norm(x_BLD + drop(attention(x_BLD, info)))
            x_BLD = feed_forward_norm(x_BLD + drop(feed_forward(x_BLD)))
        return constrain(x_BLD), None


class Group(nn.Module):
    """Layers of which the last has no window: block_0, block_1, ..."""

    cfg: Config

    @nn.compact
    def __call__(
        self, x_BLD: Array, info: AttentionInfo, whole: AttentionInfo
    ) -> tuple[Array, None]:
        last = (self.cfg.global_every or 1) - 1
        for index in range(last):
            x_BLD, _ = Block(self.cfg, name=f"block_{index}")(x_BLD, info)
        return Block(self.cfg, window=False, name=f"block_{last}")(x_BLD, whole)


class Model(nn.Module):
    """Tokens to features to logits of the token at each place. It trains where it is given a
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
        if cfg.kinds:
            self.kinds = Embedding(cfg.kinds, cfg.width)
        if cfg.embedding_norm:
            self.embedding_norm = cfg.make_norm()
        self.drop = nn.Dropout(cfg.dropout)
        groups, rest = cfg.groups
        if cfg.bare_first:
            self.first = Block(cfg, window=False, bare=True)
        if groups:
            self.groups = repeat(Group, groups, scan=cfg.scan, remat=cfg.remat)(cfg)
        if rest:
            self.layers = repeat(Block, rest, scan=cfg.scan, remat=cfg.remat)(cfg)
        if cfg.norm_position == "pre":
            self.norm = cfg.make_norm()
        self.transform = Linear(cfg.width, "expand", bias=cfg.bias)
        self.transform_norm = cfg.make_norm()
        self.head = OutputBias(cfg.vocab) if cfg.tied else Linear(cfg.vocab, "readout", bias=True)

    def features(self, inputs: Inputs) -> Array:
        """What the last layer says [B L D], in the dtype of the parameters, of inputs.tokens i32[B
        L].
        """
        cfg, info, (groups, rest) = self.cfg, bidirectional_info(inputs), self.cfg.groups
        x_BLD = self.embed(inputs.tokens)
        if cfg.positions == "learned":
            x_BLD += self.positions(info.positions_BL)
        if cfg.kinds:
            x_BLD += self.kinds(
                jnp.zeros_like(inputs.tokens) if inputs.kinds is None else inputs.kinds
            )
        if cfg.embedding_norm:
            x_BLD = self.embedding_norm(x_BLD)
        x_BLD = constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))
        whole, info = info, bidirectional_info(inputs, cfg.window)
        if cfg.bare_first:
            x_BLD, _ = self.first(x_BLD, whole)
        if groups:
            x_BLD, _ = self.groups(x_BLD, info, whole)
        if rest:
            x_BLD, _ = self.layers(x_BLD, info)
        return self.norm(x_BLD) if cfg.norm_position == "pre" else x_BLD

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]: BERT's masked-token head."""
        activation = ACTIVATIONS[PLAIN.get(self.cfg.activation, self.cfg.activation)]
        x_BLD = self.transform_norm(activation(self.transform(x_BLD)))
        logits_BLV = self.head(self.embed.attend(x_BLD)) if self.cfg.tied else self.head(x_BLD)
        return logits_BLV.astype(jnp.float32)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))


FAMILY = Family(
    Config,
    Model,
    scope="bidirectional",
    attention=lambda cfg: AttentionGeometry(*cfg.attention_geometry),
    max_length=lambda cfg: cfg.length if cfg.positions == "learned" else None,
    experts_per_token=lambda cfg: cfg.experts_per_token,
)
