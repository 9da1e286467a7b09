"""The transformer that reads one text and writes another: that of 1706.03762, T5 (1910.10683), BART
(1910.13461).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn.attention import Attention, AttentionShape
from lm_lab.nn.attention_info import AttentionInfo, CausalInfo, bidirectional_info
from lm_lab.nn.cache import is_decoding
from lm_lab.nn.feed_forward import Activation
from lm_lab.nn.linear import Embedding, Linear, OutputBias, constrain
from lm_lab.nn.positions import RelativeBias, places_within, sinusoidal
from lm_lab.nn.stack import DEEPEST, repeat
from lm_lab.nn.transformer import Transformer
from lm_lab.schema import setting
from lm_lab.types import Inputs, Scope, UserError


@dataclass(frozen=True)
class Config(Transformer):
    """The fields of a config's model section; the defaults are T5's. Raises UserError for what does
    not go together.

    2017: norm layer, norm_bias, norm_position post, positions sinusoidal, activation relu, bias,
    score_scaling, embedding_scaling, tied. BART: the same but positions learned, embedding_norm,
    gelu_exact, head_bias, and the embedding as it is. T5 v1.0 adds tied and head_scaling to the
    defaults; v1.1 activation geglu.
    """

    depth: int = setting("layers of the decoder, N", 4, low=1, high=DEEPEST)
    encoder_depth: int | None = setting(
        "layers of the encoder; None: as many as the decoder's", None, low=1, high=DEEPEST
    )
    heads: int = setting("attention heads, H", 4, low=1)
    head_dim: int | None = setting("features of a head, K; None: they share the width", None, low=1)
    vocab: int | None = setting(
        "rows of the embedding, V; None: the tokenizer's and the objective's", None, low=1
    )
    length: int | None = setting(
        "longest text and context of learned positions; None: the data's", None, low=1
    )
    norm_position: Literal["pre", "post"] = setting(
        "whether a layer's branches or their sums are normalised", "pre"
    )
    embedding_norm: bool = setting(
        "whether both streams are normalised before their first layer", False
    )
    embedding_scaling: bool = setting("whether embeddings are multiplied by sqrt(D)", False)
    positions: Literal["relative", "sinusoidal", "learned"] = setting(
        "how order is seen", "relative"
    )
    relative_buckets: int = setting(
        "buckets of distances that relative positions tell apart", 32, low=4
    )
    relative_reach: int = setting(
        "distance from which on all are in one bucket", 128, low=2, high=2**20
    )
    activation: Activation = setting("of the feed-forward layer", "relu")
    bias: bool = setting("whether every product but the head has an offset", False)
    score_scaling: bool = setting("whether attention scores are divided by sqrt(K)", False)
    tied: bool = setting("whether the head is the embedding's transpose", False)
    head_scaling: bool = setting("whether the head reads features divided by sqrt(D)", False)
    head_bias: bool = setting("whether the head has an offset", False)
    start_id: int | None = setting(
        "id with which the decoder begins; None: the objective's own", None, low=0
    )

    scope: ClassVar[Scope] = "causal"
    reads_context: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.head_dim is None and self.width % self.heads:
            raise UserError(
                f"width {self.width} is not divisible by heads {self.heads}; choose a multiple, "
                "or set head_dim"
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"sinusoidal positions need an even width, not {self.width}")
        if self.relative_buckets % 4 or self.relative_reach <= self.relative_buckets // 2:
            raise UserError(
                f"relative_buckets {self.relative_buckets} must be a multiple of 4, and "
                "relative_reach "
                f"{self.relative_reach} more than half of them"
            )
        if self.start_id is not None and self.vocab is not None and self.start_id >= self.vocab:
            raise UserError(
                f"start_id {self.start_id} is none of vocab {self.vocab}; lower it, or leave it out"
            )
        super().__post_init__()

    @property
    def depth_of_encoder(self) -> int:
        """Layers of the encoder, with the default filled in."""
        return self.encoder_depth or self.depth

    @property
    def features_of_head(self) -> int:
        """K, with its default filled in."""
        return self.head_dim or self.width // self.heads

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions: each layer of the
        decoder has two.
        """
        return self.depth_of_encoder + 2 * self.depth, self.heads, self.features_of_head

    @property
    def attention(self) -> AttentionShape:
        """The shape of all attention."""
        scale = None if self.score_scaling else 1.0
        return AttentionShape(
            self.heads, self.features_of_head, bias=self.bias, out_bias=self.bias, scale=scale
        )


class Block(nn.Module):
    """One layer: attention, where `cross` attention to a context, and feed-forward, each added to
    the stream.
    """

    cfg: Config
    scale: float  # of what a branch adds at first
    cross: bool = False

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        info: AttentionInfo,
        bias: Array | None,
        context_BMD: Array | None = None,
        context_info: AttentionInfo | None = None,
    ) -> tuple[Array, None]:
        cfg = self.cfg
        shape = (cfg.attention, self.scale, cfg.attention_kernel)
        attention = Attention(
            *shape, mask_scope="causal" if self.cross else "bidirectional", name="attention"
        )
        x_BLD = self._add("attention_norm", x_BLD, lambda y_BLD: attention(y_BLD, info, bias))
        if self.cross:
            assert context_info is not None
            cross = Attention(
                *shape, cross=True, mask_scope="bidirectional", name="cross_attention"
            )
            x_BLD = self._add(
                "cross_attention_norm", x_BLD, lambda y: cross(y, context_info, None, context_BMD)
            )
        return constrain(
            self._add("feed_forward_norm", x_BLD, cfg.make_layer(self.scale, cfg.bias, info))
        ), None

    def _add(self, name: str, x_BLD: Array, branch: Callable[[Array], Array]) -> Array:
        norm, drop = (
            self.cfg.make_norm(name),
            nn.Dropout(self.cfg.dropout, deterministic=not self.has_rng("dropout")),
        )
        if self.cfg.norm_position == "pre":
            return x_BLD + drop(branch(norm(x_BLD)))
        return norm(x_BLD + drop(branch(x_BLD)))


class Model(nn.Module):
    """A context and the tokens so far to next-token logits. It trains where it is given a "dropout"
    key.

    Where it generates, the context is given with the first tokens, and what it became is held for
    later calls.
    """

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        # Rows of unit size where the head makes up for it, else rows that are a head of unit
        # logits.
        self.embed = Embedding(
            cfg.vocab, cfg.width, cfg.width**0.5 if cfg.tied and cfg.head_scaling else 1.0
        )
        if cfg.positions == "learned":
            assert cfg.length is not None, "resolve the config first"
            self.positions = Embedding(cfg.length, cfg.width)
            self.encoder_positions = Embedding(cfg.length, cfg.width)
        elif cfg.positions == "relative":
            buckets = (cfg.relative_buckets, cfg.relative_reach)
            self.positions = RelativeBias(cfg.heads, False, *buckets)
            self.encoder_positions = RelativeBias(cfg.heads, True, *buckets)
        if cfg.embedding_norm:
            self.embedding_norm, self.encoder_embedding_norm = cfg.make_norm(), cfg.make_norm()
        if cfg.norm_position == "pre":
            self.norm, self.encoder_norm = cfg.make_norm(), cfg.make_norm()
        self.causal_info = CausalInfo()
        self.drop = nn.Dropout(cfg.dropout)
        # The branches of a stack add up to unit variance at initialisation.
        depth, scale = cfg.depth_of_encoder, (2 * cfg.depth_of_encoder) ** -0.5
        self.encoder = repeat(Block, depth, scan=cfg.scan, remat=cfg.remat)(cfg, scale)
        self.layers = repeat(Block, cfg.depth, scan=cfg.scan, remat=cfg.remat)(
            cfg, (3 * cfg.depth) ** -0.5, cross=True
        )
        if not cfg.tied:
            self.head = Linear(cfg.vocab, "readout", bias=cfg.head_bias)
        elif cfg.head_bias:
            self.head = OutputBias(cfg.vocab)

    def features(self, inputs: Inputs) -> Array:
        """Features [B L D] of inputs.tokens i32[B L] after inputs.context, in the dtype of the
        parameters.

        Raises UserError where there is no context.
        """
        info = self.causal_info(inputs)
        context_BMD, context_info = self._context(inputs, info)
        x_BLD = self._enter("", inputs.tokens, info)
        x_BLD, _ = self.layers(x_BLD, info, self._bias("", info), context_BMD, context_info)
        return self.norm(x_BLD) if self.cfg.norm_position == "pre" else x_BLD

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        cfg = self.cfg
        if cfg.head_scaling:
            x_BLD = x_BLD * cfg.width**-0.5
        logits_BLV = self.embed.attend(x_BLD) if cfg.tied else self.head(x_BLD)
        if cfg.tied and cfg.head_bias:
            logits_BLV = self.head(logits_BLV)
        return logits_BLV.astype(jnp.float32)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))

    def encode(self, inputs: Inputs) -> Array:
        """What the encoder makes [B M D] of inputs.context i32[B M], whose segments have positions
        of their own.
        """
        tokens_BM, segments_BM = inputs.context, inputs.context_segments
        assert tokens_BM is not None
        positions_BM = None if segments_BM is None else places_within(segments_BM)
        info = bidirectional_info(Inputs(tokens_BM, segments_BM, positions_BM))
        x_BMD = self._enter("encoder_", tokens_BM, info)
        x_BMD, _ = self.encoder(x_BMD, info, self._bias("encoder_", info))
        return self.encoder_norm(x_BMD) if self.cfg.norm_position == "pre" else x_BMD

    def _context(self, inputs: Inputs, info: AttentionInfo) -> tuple[Array | None, AttentionInfo]:
        """The encoded context, where this call brings one, and how the tokens see it: all, or their
        own segment's.
        """
        context_BMD, held = None, inputs.context_segments
        if inputs.context is not None:
            context_BMD = self.encode(inputs)
            if is_decoding(self) and held is not None:
                self.put_variable("cache", "context_segments", held)
        elif "layers" not in self.variables.get(
            "cache", {}
        ):  # which hold what an earlier call's became
            raise UserError(
                "config.model.family encoder_decoder reads a context, and config.objective.name "
                "gives none"
            )
        elif self.has_variable("cache", "context_segments"):
            held = self.get_variable("cache", "context_segments")
        if held is None:
            return context_BMD, info._replace(mask=None)
        segments_BL = jnp.ones_like(inputs.tokens) if inputs.segments is None else inputs.segments
        return context_BMD, info._replace(
            mask=segments_BL[:, None, :, None] == held[:, None, None, :]
        )

    def _enter(self, side: str, tokens_BL: Array, info: AttentionInfo) -> Array:
        """The stream [B L D] before the first layer of the encoder ("encoder_") or of the decoder
        ("").
        """
        cfg = self.cfg
        x_BLD = self.embed(tokens_BL)
        if cfg.embedding_scaling:
            x_BLD *= cfg.width**0.5
        if cfg.positions == "learned":
            x_BLD += getattr(self, f"{side}positions")(info.positions_BL)
        elif cfg.positions == "sinusoidal":
            x_BLD += sinusoidal(info.positions_BL, cfg.width).astype(x_BLD.dtype)
        if cfg.embedding_norm:
            x_BLD = getattr(self, f"{side}embedding_norm")(x_BLD)
        return constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))

    def _bias(self, side: str, info: AttentionInfo) -> Array | None:
        """What is added to the scores of every layer's attention to its own stream."""
        return (
            getattr(self, f"{side}positions")(info.distance_LM)
            if self.cfg.positions == "relative"
            else None
        )


FAMILY = Family(
    Config,
    Model,
    scope="causal",
    needs_context=True,
    attention=lambda cfg: AttentionGeometry(*cfg.attention_geometry),
    max_length=lambda cfg: cfg.length if cfg.positions == "learned" else None,
    start_id=lambda cfg: cfg.start_id,
    experts_per_token=lambda cfg: cfg.experts_per_token,
)
