"""The bidirectional transformer: the shapes of BERT (1810.04805) and ModernBERT (2412.13663) from
one config.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn.attention import AttentionShape
from lm_lab.nn.attention_info import bidirectional_info
from lm_lab.nn.feed_forward import ACTIVATIONS, Activation
from lm_lab.nn.linear import Embedding, Linear, OutputBias
from lm_lab.nn.norm import Kind
from lm_lab.nn.positions import Learned, Scheme, positions_setting
from lm_lab.nn.transformer import LayerShape, TransformerModel, Windowed
from lm_lab.schema import setting
from lm_lab.types import Inputs, UserError

# The activation of the head, which has no gate, for layers whose activation is gated.
UNGATED = {"swiglu": "gelu", "geglu": "gelu", "geglu_exact": "gelu_exact"}


@dataclass(frozen=True)
class Config(Windowed):
    """The settings of a config's model section. Raises UserError for a combination that does not
    work.
    """

    kinds: int = setting("segment types, each with an embedding (BERT: 2)", 0, low=0)
    norm: Kind = setting("RMSNorm or LayerNorm", "layer")
    norm_bias: bool = setting("whether a LayerNorm has a bias", True)
    norm_position: Literal["pre", "post"] = setting(  # type: ignore[misc]
        "whether a layer's branches or their sums are normalised", "post"
    )
    embedding_norm: bool = setting("whether the stream is normalised before the first layer", True)
    positions: Scheme = positions_setting(Learned())
    bare_first: bool = setting(  # type: ignore[misc]
        "whether the first layer stands alone, without a window and without a norm before its "
        "attention (ModernBERT)",
        False,
    )
    activation: Activation = setting("of the feed-forward layer", "gelu_exact")
    bias: bool = setting("whether every product has a bias", True)
    tied: bool = setting("whether the head ends in the embedding's transpose", True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bare_first and self.norm_position != "pre":
            raise UserError("bare_first is for norm_position pre; set it, or leave bare_first out")

    @property
    def layer(self) -> LayerShape:
        """The shape of its layers."""
        attention = AttentionShape(
            self.heads,
            self.features_of_head,
            bias=self.bias,
            out_bias=self.bias,
            positions=self.positions,
            window=self.window,
        )
        return LayerShape(attention, attention._replace(window=None), self.bias)


class Model(TransformerModel):
    """Tokens to features to logits of the token at each position. It trains (drops features) where
    it is given a "dropout" key.
    """

    cfg: Config

    def setup(self) -> None:
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        self.make_embedding(bidirectional=True)
        self.make_layers(cfg.layer, "bidirectional")
        if cfg.kinds:
            self.kinds = Embedding(cfg.kinds, cfg.width, part="positions")
        if cfg.embedding_norm:
            self.embedding_norm = cfg.make_norm()
        if cfg.norm_position == "pre":
            self.norm = cfg.make_norm()
        self.transform = Linear(cfg.width, "expand", bias=cfg.bias, part="feed_forward")
        self.transform_norm = cfg.make_norm()
        self.head = OutputBias(cfg.vocab) if cfg.tied else Linear(cfg.vocab, "readout", bias=True)

    def features(self, inputs: Inputs) -> Array:
        """Features [B L D], in the dtype of the parameters, of inputs.tokens i32[B L]."""
        cfg, global_info = self.cfg, bidirectional_info(inputs)
        x_BLD = self.embed(inputs.tokens)
        if cfg.positions.scales_embedding:
            x_BLD *= cfg.width**0.5
        x_BLD = cfg.positions.embed(x_BLD, global_info.positions_BL, self.positions)
        if cfg.kinds:
            kinds = jnp.zeros_like(inputs.tokens) if inputs.kinds is None else inputs.kinds
            x_BLD += self.kinds(kinds)
        if cfg.embedding_norm:
            x_BLD = self.embedding_norm(x_BLD)
        global_view = self.view(global_info)
        view = global_view._replace(info=bidirectional_info(inputs, cfg.window))
        x_BLD = self.run_layers(self.dropped(x_BLD), view, global_view)
        return self.norm(x_BLD) if cfg.norm_position == "pre" else x_BLD

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]: BERT's masked-token head."""
        activation = ACTIVATIONS[UNGATED.get(self.cfg.activation, self.cfg.activation)]
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
    max_length=lambda cfg: cfg.max_length,
    experts_per_token=lambda cfg: cfg.experts_per_token,
)
