"""The transformer layer, its settings and its stack, for decoder, encoder and encoder-decoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from lm_lab.nn import transfer
from lm_lab.nn.attention import Attention, AttentionShape, Kernel
from lm_lab.nn.attention_info import AttentionInfo
from lm_lab.nn.dropout import Dropout
from lm_lab.nn.experts import Experts, Grouping, Mixture
from lm_lab.nn.feed_forward import GATED, Activation, FeedForward
from lm_lab.nn.linear import WIDEST, Embedding, Linear, OutputBias, constrain
from lm_lab.nn.norm import Kind, Norm
from lm_lab.nn.positions import Rotary, Scheme, Sizes, positions_setting
from lm_lab.nn.stack import DEEPEST, Remat, groups_of, repeat, stacks_of
from lm_lab.schema import Condition, choice, setting
from lm_lab.types import Scope, UserError

NormPosition = Literal["pre", "branch", "both", "post"]


@dataclass(frozen=True)
class Dense:
    """One feed-forward layer for all tokens."""


@dataclass(frozen=True)
class MixtureOfExperts:
    """Several feed-forward layers, of which a router chooses a few for each token (nn/experts.py).
    Raises UserError for more experts a token than there are.
    """

    count: int = setting("experts, E", 8, low=1)
    per_token: int = setting("experts that a token passes through, k", 2, low=1)
    capacity_factor: float | None = setting(
        "room of an expert, over k L / E; None: for all", None, low=0.01
    )
    balance_weight: float = setting("weight of the load-balancing loss", 0.01, low=0.0)
    kernel: Grouping = setting(
        "how the products of experts that drop nothing are grouped", "auto", reference="ragged"
    )

    def __post_init__(self) -> None:
        if self.per_token > self.count:
            raise UserError(f"per_token {self.per_token} is above count {self.count}; lower it")

    def mixture(self, inner: int, activation: Activation) -> Mixture:
        """The shape of the mixture, with experts of F = `inner` features."""
        return Mixture(
            self.count,
            self.per_token,
            inner,
            activation,
            self.capacity_factor,
            self.balance_weight,
            self.kernel,
        )


FEED_FORWARDS = {"dense": Dense, "experts": MixtureOfExperts}


@dataclass(frozen=True)
class Transformer:
    """Settings that every transformer family has. Raises UserError for a combination that does not
    work.
    """

    width: int = setting("residual stream, D", 128, low=1, high=WIDEST)
    depth: int = setting("layers, N", 4, low=1, high=DEEPEST)
    heads: int = setting("attention heads, H", 4, low=1)
    head_dim: int | None = setting("features of a head, K; None: they share the width", None, low=1)
    vocab: int | None = setting("rows of the embedding, V; None: the tokenizer's", None, low=1)
    length: int | None = setting(
        "longest sequence that learned positions allow; None: the data's",
        None,
        low=1,
        read_with=Condition("learned positions", lambda config: config.positions.limits_length),
    )
    positions: Scheme = positions_setting(Rotary())
    feed_forward: Dense | MixtureOfExperts = choice(
        "one feed-forward layer, or a mixture of experts", FEED_FORWARDS, Dense()
    )
    feed_forward_dim: int | None = setting(
        "inner features, F; None: 4 D, and 8/3 D where gated", None, low=1
    )
    activation: Activation = setting("of the feed-forward layer", "gelu")
    norm: Kind = setting("RMSNorm or LayerNorm", "rms")
    norm_bias: bool = setting("whether a LayerNorm has a bias", False)
    norm_epsilon: float = setting("added to the mean square under the root", 1e-6, low=0.0)
    dropout: float = setting(
        "probability that a feature entering a stream is dropped", 0.0, low=0.0, high=0.99
    )
    scan: bool = setting(
        "scan over layers (compiles once at any depth) or unroll (faster when small)", False
    )
    remat: Remat = setting("what the backward pass computes again", "none", reference="none")
    attention_kernel: Kernel = setting("which attention kernel", "auto", reference="plain")

    # Fixed by the family, unless it makes a setting of it.
    norm_position: ClassVar[Any] = "pre"
    parallel: ClassVar[Any] = False
    parallel_norms: ClassVar[Any] = False
    global_every: ClassVar[Any] = None
    bare_first: ClassVar[Any] = False
    base_width: ClassVar[Any] = None
    base_depth: ClassVar[Any] = None
    # Whether the branches of a layer share one dropout module. It decides which bits are drawn, so
    # it is fixed for each family.
    shared_dropout: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.head_dim is None and self.width % self.heads:
            raise UserError(
                f"width {self.width} is not divisible by heads {self.heads}; choose a multiple, "
                "or set head_dim"
            )
        self.positions.check(self.sizes)
        if self.norm_bias and self.norm != "layer":
            raise UserError("norm_bias is for norm layer, and norm is rms; change one of them")

    @property
    def features_of_head(self) -> int:
        """K, with its default filled in."""
        return self.head_dim or self.width // self.heads

    @property
    def sizes(self) -> Sizes:
        """What position schemes need to know of a causal model."""
        return Sizes(self.width, self.heads, self.features_of_head, self.length)

    @property
    def inner(self) -> int:
        """F, with its default filled in (8/3 D keeps a gated layer's parameter count near the 8 D^2
        of a plain one).
        """
        return self.feed_forward_dim or (
            round(8 * self.width / 3) if self.activation in GATED else 4 * self.width
        )

    @property
    def max_length(self) -> int | None:
        """The longest sequence that the parameters allow."""
        return self.length if self.positions.limits_length else None

    @property
    def positions_of_width(self) -> dict[str, bool]:
        """Whether positions have tables as wide as the stream, or scale it by its width."""
        return {
            "learned_positions": self.positions.limits_length,
            "sinusoidal_positions": self.positions.scales_embedding,
        }

    @property
    def experts_per_token(self) -> int:
        """Experts that a token passes through, k; 1 without experts."""
        return self.feed_forward.per_token if isinstance(self.feed_forward, MixtureOfExperts) else 1

    @property
    def attention_geometry(self) -> tuple[int, int, int]:
        """(layers, heads, head dim) of attention, for the FLOP conventions."""
        return self.depth, self.heads, self.features_of_head

    @property
    def stacks(self) -> tuple[tuple[str, range], ...]:
        """The paths of parameters that hold layers, each with the numbers of its layers; without a
        bare first layer.
        """
        first = int(self.bare_first)
        return stacks_of(self.depth - first, self.global_every, first)

    def make_norm(self, name: str | None = None) -> Norm:
        """A norm of the stream."""
        return Norm(self.norm, self.norm_epsilon, self.norm_bias, name=name)

    def make_feed_forward(
        self, scale: float, bias: bool, info: AttentionInfo
    ) -> Callable[[Array], Array]:
        """The layer [B L D] -> [B L D] of a block, named "experts" or "feed_forward"; experts never
        have biases.
        """
        if isinstance(self.feed_forward, MixtureOfExperts):
            mixture = self.feed_forward.mixture(self.inner, self.activation)
            experts = Experts(mixture, scale, name="experts")
            return lambda x_BLD: experts(x_BLD, info.segments.padding_BL)
        return FeedForward(self.inner, self.activation, scale, bias, name="feed_forward")


@dataclass(frozen=True)
class Windowed(Transformer):
    """Settings of families whose layers may have a window."""

    window: int | None = setting(
        "tokens that a query sees, itself included; both ways, keys less than that away; None: all",
        None,
        low=1,
    )
    global_every: int | None = setting(  # type: ignore[misc]
        "of so many layers the last has no window; None: no layer is so", None, low=2
    )

    def __post_init__(self) -> None:
        if self.window is None and self.global_every:
            raise UserError("global_every is for models with a window; set window")
        if isinstance(self.positions, Rotary) and self.positions.window_base and not self.window:
            raise UserError("positions.window_base is for models with a window; set window")
        super().__post_init__()


class LayerShape(NamedTuple):
    """The shape of a layer, as each family derives it from its settings."""

    attention: AttentionShape  # in layers with the model's window, if it has one
    global_attention: AttentionShape  # in layers without a window
    feed_forward_bias: bool  # whether the products of the feed-forward layer have a bias


class View(NamedTuple):
    """What layers with the same window share in one call."""

    info: AttentionInfo
    bias: Array | None  # f32[1|B, H, L, M], added to the scores


class Block(nn.Module):
    """One layer: attention, with `cross` attention to a context, and feed-forward, each normalised
    and added to the stream.

    norm_position says what is normalised: what a branch reads ("pre"), what it adds ("branch"),
    both, or the sum ("post").
    """

    cfg: Transformer
    layer: LayerShape
    init_scale: float  # of what a branch adds
    windowed: bool = True  # whether it has the model's window
    mask_scope: Scope = "causal"
    cross: bool = False
    bare: bool = False  # whether attention reads the stream without a norm before it

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        view: View,
        context_BMD: Array | None = None,
        context_info: AttentionInfo | None = None,
    ) -> tuple[Array, None]:
        cfg = self.cfg
        shape = self.layer.attention if self.windowed else self.layer.global_attention
        attention = self._attention(shape, self.mask_scope, "attention")
        branches: dict[str, Callable[[Array], Array]] = {
            "attention": lambda y_BLD: attention(y_BLD, *view)
        }
        if self.cross:
            assert context_info is not None
            cross = self._attention(shape, "bidirectional", "cross_attention", cross=True)
            branches["cross_attention"] = lambda y: cross(y, context_info, None, context_BMD)
        branches["feed_forward"] = cfg.make_feed_forward(
            self.init_scale, self.layer.feed_forward_bias, view.info
        )
        shared_drop = self._dropout() if cfg.shared_dropout else None
        entering_BLD, read_BLD = x_BLD, None
        for name, branch in branches.items():
            if read_BLD is None or cfg.parallel_norms or not cfg.parallel:
                read_BLD = self._before(name, entering_BLD if cfg.parallel else x_BLD)
            added_BLD = branch(read_BLD)
            if cfg.norm_position in ("branch", "both"):
                added_BLD = cfg.make_norm(f"{name}_out_norm")(added_BLD)
            added_BLD = (shared_drop or self._dropout())(added_BLD)
            x_BLD += transfer.entering(cfg, added_BLD)
            if cfg.norm_position == "post":
                x_BLD = cfg.make_norm(f"{name}_norm")(x_BLD)
        return constrain(x_BLD), None

    def _before(self, name: str, x_BLD: Array) -> Array:
        """The input of a branch: the stream, normalised where norm_position says so."""
        bare = self.bare and name == "attention"
        if bare or self.cfg.norm_position not in ("pre", "both"):
            return x_BLD
        return self.cfg.make_norm(f"{name}_norm")(x_BLD)

    def _attention(
        self, shape: AttentionShape, scope: Scope, name: str, *, cross: bool = False
    ) -> Attention:
        kernel = self.cfg.attention_kernel
        return Attention(shape, self.init_scale, kernel, cross, scope, name=name)

    def _dropout(self) -> Dropout:
        return Dropout(self.cfg.dropout, deterministic=not self.has_rng("dropout"))


class Group(nn.Module):
    """Layers of which the last has no window: block_0, block_1, ..."""

    cfg: Transformer
    layer: LayerShape
    init_scale: float
    mask_scope: Scope

    @nn.compact
    def __call__(self, x_BLD: Array, view: View, global_view: View) -> tuple[Array, None]:
        last = (self.cfg.global_every or 1) - 1
        for index in range(last + 1):
            windowed = index < last
            arguments = (self.layer, self.init_scale, windowed, self.mask_scope)
            block = Block(self.cfg, *arguments, name=f"block_{index}")
            x_BLD, _ = block(x_BLD, view if windowed else global_view)
        return x_BLD, None


class TransformerModel(nn.Module):
    """The base of the transformer families' models: each has a `setup` that calls the `make_`
    methods, and its own `features` and `__call__`.
    """

    cfg: Any  # a Transformer

    def make_embedding(self, scale: float = 1.0, *, bidirectional: bool = False) -> None:
        """Makes the embedding, and the learned table of positions."""
        cfg = self.cfg
        assert cfg.vocab is not None, "resolve the config first"
        self.embed = Embedding(cfg.vocab, cfg.width, scale * transfer.embedding_scale(cfg))
        sizes = cfg.sizes._replace(bidirectional=bidirectional)
        self.positions = cfg.positions.module(sizes)
        self.drop = Dropout(cfg.dropout)

    def make_layers(self, layer: LayerShape, mask_scope: Scope) -> None:
        """Makes layers with self-attention alone, as the settings ask: `first`, `groups` and
        `layers`.
        """
        cfg = self.cfg
        # 2N branches add up to unit variance at first (GPT-2)
        scale = (2 * cfg.depth) ** -0.5 * transfer.branch_scale(cfg)
        groups, leftover = groups_of(cfg.depth - cfg.bare_first, cfg.global_every)
        if cfg.bare_first:
            self.first = Block(cfg, layer, scale, False, mask_scope, bare=True)
        if groups:
            stack = repeat(self, Group, groups, cfg)
            self.groups = stack(cfg, layer, scale, mask_scope)
        if leftover:
            stack = repeat(self, Block, leftover, cfg)
            self.layers = stack(cfg, layer, scale, mask_scope=mask_scope)

    def make_head(self) -> None:
        """Makes the head: a kernel of its own or the embedding's transpose, with a bias or
        without.
        """
        if not self.cfg.tied:
            scale = transfer.head_scale(self.cfg)
            self.head = Linear(self.cfg.vocab, "readout", scale, bias=self.cfg.head_bias)
        elif self.cfg.head_bias:
            self.head = OutputBias(self.cfg.vocab)

    def run_layers(self, x_BLD: Array, view: View, global_view: View) -> Array:
        """The stream after the layers that `make_layers` made."""
        cfg = self.cfg
        groups, leftover = groups_of(cfg.depth - cfg.bare_first, cfg.global_every)
        if cfg.bare_first:
            x_BLD, _ = self.first(x_BLD, global_view)
        if groups:
            x_BLD, _ = self.groups(x_BLD, view, global_view)
        if leftover:
            x_BLD, _ = self.layers(x_BLD, view)
        return x_BLD

    def view(self, info: AttentionInfo) -> View:
        """The view of a call for layers with the mask of `info`."""
        return self.view_of(info, self.positions)

    def view_of(self, info: AttentionInfo, positions: nn.Module | None) -> View:
        """As `view`, with another table of `positions` than the model's own."""
        bias = self.cfg.positions.bias(info.distance_LM, self.cfg.heads, positions)
        return View(info, bias)

    def dropped(self, x_BLD: Array) -> Array:
        """The stream before the first layer, with dropout where there is a key for it."""
        return constrain(self.drop(x_BLD, deterministic=not self.has_rng("dropout")))

    def head_logits(self, x_BLD: Array) -> Array:
        """Logits f32[B L V] of features [B L D], by the head of `make_head`."""
        logits_BLV = self.embed.attend(x_BLD) if self.cfg.tied else self.head(x_BLD)
        if self.cfg.tied and self.cfg.head_bias:
            logits_BLV = self.head(logits_BLV)
        return logits_BLV.astype(jnp.float32)
