"""The decoder transformer: shapes of GPT-2 (Radford 2019), LLaMA (2302.13971) and their relatives,
from one config.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from jax import Array

from lm_lab.contracts import AttentionGeometry, Family
from lm_lab.nn import transfer
from lm_lab.nn.attention import AttentionShape, bounded
from lm_lab.nn.attention_info import CausalInfo, nearer
from lm_lab.nn.norm import Kind
from lm_lab.nn.positions import Rotary
from lm_lab.nn.stack import groups_of
from lm_lab.nn.transfer import base_depth_setting, base_width_setting
from lm_lab.nn.transformer import Dense, LayerShape, TransformerModel, Windowed
from lm_lab.schema import Condition, setting
from lm_lab.types import Inputs, PyTree, UserError

Bias = Literal["none", "qkv", "attention", "feed_forward", "all"]


@dataclass(frozen=True)
class Config(Windowed):
    """The settings of a config's model section. Raises UserError for a combination that does not
    work.
    """

    kv_heads: int | None = setting(
        "heads of keys and values, G, each for H / G queries; None: H", None, low=1
    )
    bias: Bias = setting(
        "which products of the layers have a bias",
        "none",
        read_with=Condition(
            "products other than those of experts",
            lambda config: config.bias != "feed_forward" or isinstance(config.feed_forward, Dense),
        ),
    )
    head_bias: bool = setting("whether the head has a bias", False)
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
    parallel: bool = setting(  # type: ignore[misc]
        "whether attention and feed-forward read the same stream and add up (GPT-J, PaLM)", False
    )
    parallel_norms: bool = setting(  # type: ignore[misc]
        "whether each of the two then has a norm of its own (GPT-NeoX)", False
    )
    norm_position: Literal["pre", "branch", "both"] = setting(  # type: ignore[misc]
        "whether what a branch reads is normalised, what it adds (OLMo 2), or both (Gemma 2)", "pre"
    )
    embedding_scaling: bool = setting("whether embeddings are multiplied by sqrt(D)", False)
    tied: bool = setting("whether the head is the embedding's transpose", False)
    base_width: int | None = base_width_setting()  # type: ignore[misc]
    base_depth: int | None = base_depth_setting()  # type: ignore[misc]

    def __post_init__(self) -> None:
        super().__post_init__()
        transfer.check(self, **self.positions_of_width, embedding_scaling=self.embedding_scaling)
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise UserError(
                f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}; choose a divisor"
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
        if self.qk_norm is None and self.qk_norm_over == "heads":
            raise UserError("qk_norm_over is for models with a qk_norm; set that, or leave it out")

    @property
    def has_memory(self) -> bool:
        """Whether its cache is of constant size, and holds no places that end with a window."""
        sees_all = self.window is None or groups_of(self.depth, self.global_every)[0] > 0
        return not sees_all and not self.positions.absolute

    @property
    def layer(self) -> LayerShape:
        """The shape of its layers."""
        attention = AttentionShape(
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
            positions=self.positions,
            window=self.window,
        )
        bias = self.bias in ("feed_forward", "all")
        return LayerShape(attention, attention._replace(window=None), bias)


class Model(TransformerModel):
    """Tokens to features to next-token logits. It trains (drops features) where it is given a
    "dropout" key.
    """

    cfg: Config

    def setup(self) -> None:
        self.make_embedding()
        self.make_layers(self.cfg.layer, "causal")
        self.make_head()
        self.norm = self.cfg.make_norm()
        self.causal_info = CausalInfo(self.cfg.window)
        if groups_of(self.cfg.depth, self.cfg.global_every)[0]:
            self.global_info = CausalInfo()

    def features(self, inputs: Inputs) -> Array:
        """Normalised features [B L D], in the dtype of the parameters, of
        inputs.tokens i32[B L].
        """
        cfg, info = self.cfg, self.causal_info(inputs)
        x_BLD = self.embed(inputs.tokens)
        for scales in (cfg.embedding_scaling, cfg.positions.scales_embedding):
            x_BLD = x_BLD * cfg.width**0.5 if scales else x_BLD
        x_BLD = self.dropped(cfg.positions.embed(x_BLD, info.positions_BL, self.positions))
        view = self.view(info)
        has_groups = groups_of(cfg.depth, cfg.global_every)[0]
        global_view = self.view(self.global_info(inputs)) if has_groups else view
        return self.norm(self.run_layers(x_BLD, view, global_view))

    def readout(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D]."""
        return bounded(self.head_logits(x_BLD), self.cfg.logit_softcap)

    def __call__(self, inputs: Inputs) -> Array:
        """Logits f32[B L V] of inputs.tokens i32[B L]."""
        return self.readout(self.features(inputs))


def bounded_memory(cfg: Config, cache: PyTree) -> PyTree:
    """The keys and values of a window, with the positions of its keys below 2 `window`."""
    if cfg.window is None or not isinstance(cfg.positions, Rotary):
        return cache
    return nearer(cache, cfg.window, partial(cfg.positions.rotate, windowed=True))


FAMILY = Family(
    Config,
    Model,
    scope="causal",
    attention=lambda cfg: AttentionGeometry(*cfg.attention_geometry),
    max_length=lambda cfg: cfg.max_length,
    experts_per_token=lambda cfg: cfg.experts_per_token,
    is_recurrent=lambda cfg: cfg.has_memory,
    memory=lambda cfg: cfg.window or 1,
    bounded=bounded_memory,
    width_ratio=transfer.width_ratio,
)
