"""The transformer that reads one text and writes another: that of 1706.03762, T5 (1910.10683), BART
(1910.13461).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn import transfer
from lm_lab.nn.attention import AttentionShape
from lm_lab.nn.attention_info import AttentionInfo, CausalInfo, bidirectional_info
from lm_lab.nn.cache import is_decoding
from lm_lab.nn.feed_forward import Activation
from lm_lab.nn.positions import Relative, Rotary, Scheme, places_within, positions_setting
from lm_lab.nn.stack import DEEPEST, repeat
from lm_lab.nn.transfer import base_depth_setting, base_width_setting
from lm_lab.nn.transformer import Block, LayerShape, Transformer, TransformerModel
from lm_lab.schema import setting
from lm_lab.types import Inputs, UserError


@dataclass(frozen=True)
class Config(Transformer):
    """The settings of a config's model section; the defaults are T5's. Raises UserError for a
    combination that does not work.

    2017: norm layer, norm_bias, norm_position post, positions sinusoidal, activation relu, bias,
    score_scaling, embedding_scaling, tied. BART: the same but positions learned, embedding_norm,
    gelu_exact, head_bias, and the embedding as it is. T5 v1.0 adds tied and head_scaling to the
    defaults; v1.1 activation geglu.
    """

    encoder_depth: int | None = setting(
        "layers of the encoder; None: as many as the decoder's, depth", None, low=1, high=DEEPEST
    )
    norm_position: Literal["pre", "post"] = setting(  # type: ignore[misc]
        "whether a layer's branches or their sums are normalised", "pre"
    )
    embedding_norm: bool = setting(
        "whether both streams are normalised before their first layer", False
    )
    embedding_scaling: bool = setting("whether embeddings are multiplied by sqrt(D)", False)
    positions: Scheme = positions_setting(Relative())
    activation: Activation = setting("of the feed-forward layer", "relu")
    bias: bool = setting("whether every product but the head has a bias", False)
    score_scaling: bool = setting("whether attention scores are divided by sqrt(K)", False)
    tied: bool = setting("whether the head is the embedding's transpose", False)
    head_scaling: bool = setting("whether the head reads features divided by sqrt(D)", False)
    head_bias: bool = setting("whether the head has a bias", False)
    base_width: int | None = base_width_setting()  # type: ignore[misc]
    base_depth: int | None = base_depth_setting()  # type: ignore[misc]
    start_id: int | None = setting(
        "id with which the decoder begins; None: the objective's own", None, low=0
    )

    shared_dropout: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        scalings = {name: vars(self)[name] for name in ("embedding_scaling", "head_scaling")}
        transfer.check(self, **self.positions_of_width, **scalings)
        if self.base_depth is not None and self.norm_position == "post":
            raise UserError("base_depth is for norm_position pre; set it, or leave base_depth out")
        if isinstance(self.positions, Rotary) and self.positions.window_base is not None:
            raise UserError("positions.window_base is for models with a window; leave it out")
        if self.start_id is not None and self.vocab is not None and self.start_id >= self.vocab:
            raise UserError(
                f"start_id {self.start_id} is none of vocab {self.vocab}; lower it, or leave it out"
            )

    @property
    def depth_of_encoder(self) -> int:
        """The number of layers of the encoder, with the default filled in."""
        return self.encoder_depth or self.depth

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions: each layer of the
        decoder has two.
        """
        return self.depth_of_encoder + 2 * self.depth, self.heads, self.features_of_head

    @property
    def layer(self) -> LayerShape:
        """The shape of the layers of both stacks."""
        attention = AttentionShape(
            self.heads,
            self.features_of_head,
            bias=self.bias,
            out_bias=self.bias,
            scale=None if self.score_scaling else 1.0,
            positions=self.positions,
        )
        return LayerShape(attention, attention, self.bias)


class Model(TransformerModel):
    """A context and the earlier tokens to next-token logits. It trains (drops features) where it is
    given a "dropout" key.

    While decoding, the context is given with the first tokens, and its keys and values are cached
    for later calls.
    """

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        # Entries of unit variance if the head divides by sqrt(D), else rows that give logits of
        # unit variance.
        self.make_embedding(cfg.width**0.5 if cfg.tied and cfg.head_scaling else 1.0)
        self.encoder_positions = cfg.positions.module(cfg.sizes._replace(bidirectional=True))
        if cfg.embedding_norm:
            self.embedding_norm, self.encoder_embedding_norm = cfg.make_norm(), cfg.make_norm()
        if cfg.norm_position == "pre":
            self.norm, self.encoder_norm = cfg.make_norm(), cfg.make_norm()
        self.causal_info = CausalInfo()
        # The branches of a stack add up to unit variance at initialisation.
        depth, carried = cfg.depth_of_encoder, transfer.branch_scale(cfg)
        stack = repeat(self, Block, depth, cfg)
        scale = (2 * depth) ** -0.5 * carried
        self.encoder = stack(cfg, cfg.layer, scale, mask_scope="bidirectional")
        stack = repeat(self, Block, cfg.depth, cfg)
        self.layers = stack(cfg, cfg.layer, (3 * cfg.depth) ** -0.5 * carried, cross=True)
        self.make_head()

    def features(self, inputs: Inputs) -> Array:
        """Features [B L D] of inputs.tokens i32[B L] after inputs.context, in the dtype of the
        parameters.

        Raises UserError where there is no context.
        """
        info = self.causal_info(inputs)
        context_BMD, context_info = self._context(inputs, info)
        norm = self.embedding_norm if self.cfg.embedding_norm else None
        x_BLD = self._enter(inputs.tokens, info, self.positions, norm)
        x_BLD, _ = self.layers(x_BLD, self.view(info), context_BMD, context_info)
        return self.norm(x_BLD) if self.cfg.norm_position == "pre" else x_BLD

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        scale = self.cfg.width**-0.5 if self.cfg.head_scaling else None
        return self.head_logits(x_BLD if scale is None else x_BLD * scale)

    def encode(self, inputs: Inputs) -> Array:
        """The encoder's features [B M D] of inputs.context i32[B M], whose segments have positions
        of their own.
        """
        tokens_BM, segments_BM = inputs.context, inputs.context_segments
        assert tokens_BM is not None
        positions_BM = None if segments_BM is None else places_within(segments_BM)
        info = bidirectional_info(Inputs(tokens_BM, segments_BM, positions_BM))
        norm = self.encoder_embedding_norm if self.cfg.embedding_norm else None
        x_BMD = self._enter(tokens_BM, info, self.encoder_positions, norm)
        x_BMD, _ = self.encoder(x_BMD, self.view_of(info, self.encoder_positions))
        return self.encoder_norm(x_BMD) if self.cfg.norm_position == "pre" else x_BMD

    def _context(self, inputs: Inputs, info: AttentionInfo) -> tuple[Array | None, AttentionInfo]:
        """The encoded context, if this call gives one, and the mask by which the tokens see it: all
        of it, or that of their own segment.
        """
        context_BMD, segments_BM = None, inputs.context_segments
        if inputs.context is not None:
            context_BMD = self.encode(inputs)
            if is_decoding(self) and segments_BM is not None:
                self.put_variable("cache", "context_segments", segments_BM)
        elif "layers" not in self.variables.get("cache", {}):  # no earlier call cached a context
            raise UserError(
                "config.model.family encoder_decoder reads a context, and config.objective.name "
                "gives none"
            )
        elif self.has_variable("cache", "context_segments"):
            segments_BM = self.get_variable("cache", "context_segments")
        if segments_BM is None:
            return context_BMD, info._replace(mask=None)
        segments_BL = jnp.ones_like(inputs.tokens) if inputs.segments is None else inputs.segments
        mask = segments_BL[:, None, :, None] == segments_BM[:, None, None, :]
        return context_BMD, info._replace(mask=mask)

    def _enter(
        self,
        tokens_BL: Array,
        info: AttentionInfo,
        positions: nn.Module | None,
        norm: nn.Module | None,
    ) -> Array:
        """The stream [B L D] before the first layer, with the `positions` and the `norm` of the
        encoder or of the decoder.
        """
        cfg = self.cfg
        x_BLD = self.embed(tokens_BL)
        if cfg.embedding_scaling:
            x_BLD *= cfg.width**0.5
        x_BLD = cfg.positions.embed(x_BLD, info.positions_BL, positions)
        return self.dropped(x_BLD if norm is None else norm(x_BLD))

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))


FAMILY = Family(
    Config,
    Model,
    scope="causal",
    needs_context=True,
    attention=lambda cfg: AttentionGeometry(*cfg.attention_geometry),
    max_length=lambda cfg: cfg.max_length,
    start_id=lambda cfg: cfg.start_id,
    experts_per_token=lambda cfg: cfg.experts_per_token,
    width_ratio=transfer.width_ratio,
)
