"""What the families of transformers have in common: their norms, and their position-wise layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jax import Array

from lm_lab.nn.attention import Kernel
from lm_lab.nn.attention_info import AttentionInfo
from lm_lab.nn.experts import Experts, Grouping, Mixture
from lm_lab.nn.feed_forward import GATED, Activation, FeedForward
from lm_lab.nn.linear import WIDEST
from lm_lab.nn.norm import Kind, Norm
from lm_lab.nn.stack import Remat
from lm_lab.schema import setting
from lm_lab.types import UserError


@dataclass(frozen=True)
class Transformer:
    """Fields that the Config of every transformer family has. Raises UserError for what does not go
    together.
    """

    width: int = setting("residual stream, D", 128, low=1, high=WIDEST)
    feed_forward: int | None = setting(
        "inner features, F; None: 4 D, and 8/3 D where gated", None, low=1
    )
    activation: Activation = setting("of the feed-forward layer", "gelu")
    feed_forward_kind: Literal["dense", "experts"] = setting(
        "one feed-forward layer, or a mixture of experts", "dense"
    )
    experts: int = setting("experts of a mixture, E", 8, low=1)
    experts_per_token: int = setting("experts that a token passes through, k", 2, low=1)
    capacity_factor: float | None = setting(
        "room of an expert, over k L / E; None: for all", None, low=0.01
    )
    balance_weight: float = setting(
        "weight of the loss that asks for experts chosen alike", 0.01, low=0.0
    )
    experts_kernel: Grouping = setting(
        "how the products of experts that drop nothing are grouped", "auto", reference="ragged"
    )
    norm: Kind = setting("RMSNorm or LayerNorm", "rms")
    norm_bias: bool = setting("whether a LayerNorm has an offset", False)
    norm_epsilon: float = setting("added to the mean square under the root", 1e-6, low=0.0)
    dropout: float = setting(
        "probability that a feature entering a stream is dropped", 0.0, low=0.0, high=0.99
    )
    scan: bool = setting(
        "scan over layers (compiles once at any depth) or unroll (faster when small)", False
    )
    remat: Remat = setting("what the backward pass computes again", "none", reference="none")
    attention_kernel: Kernel = setting("which attention kernel", "auto", reference="plain")

    def __post_init__(self) -> None:
        if self.norm_bias and self.norm != "layer":
            raise UserError("norm_bias is for norm layer, and norm is rms; change one of them")
        if self.feed_forward_kind == "experts" and self.experts_per_token > self.experts:
            raise UserError(
                f"experts_per_token {self.experts_per_token} is above experts {self.experts}; "
                "lower it"
            )

    @property
    def inner(self) -> int:
        """F, with its default filled in (8/3 D keeps a gated layer's parameter count near the 8 D^2
        of a plain one).
        """
        return self.feed_forward or (
            round(8 * self.width / 3) if self.activation in GATED else 4 * self.width
        )

    @property
    def mixture(self) -> Mixture:
        """The shape of every layer's mixture of experts."""
        return Mixture(
            self.experts,
            self.experts_per_token,
            self.inner,
            self.activation,
            self.capacity_factor,
            self.balance_weight,
            self.experts_kernel,
        )

    def make_norm(self, name: str | None = None) -> Norm:
        """A norm of a stream."""
        return Norm(self.norm, self.norm_epsilon, self.norm_bias, name=name)

    def make_layer(self, scale: float, bias: bool, info: AttentionInfo) -> Callable[[Array], Array]:
        """The layer [B L D] -> [B L D] of a block, "experts" or "feed_forward" by name; experts
        never have offsets.
        """
        if self.feed_forward_kind == "dense":
            return FeedForward(self.inner, self.activation, scale, bias, name="feed_forward")
        experts = Experts(self.mixture, scale, name="experts")
        return lambda x_BLD: experts(x_BLD, info.segments.padding_BL)
