"""Shared parts of the decoders' mappings."""

from collections.abc import Mapping
from typing import Any

from lm_lab.interop.fields import Refused, take
from lm_lab.interop.mapping import Rule, linear, norm

SIZES = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "vocab": "vocab_size",
    "length": "max_position_embeddings",
}
NO_SPECIALS = {
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}  # written, because transformers' config classes have other defaults

BIASED = {  # the linear layers with a bias, by the setting `bias`
    "none": (),
    "qkv": ("query", "key", "value"),
    "attention": ("query", "key", "value", "out"),
    "feed_forward": ("gate", "up", "down"),
    "all": ("query", "key", "value", "out", "gate", "up", "down"),
}


def demand_plain_heads(config: Any, architecture: str) -> None:
    """Raises UserError if heads share keys and values, or do not make up the width."""
    if config.kv_heads not in (None, config.heads):
        shared = (
            f"model.kv_heads {config.kv_heads} cannot be written as {architecture}, whose heads "
            "share nothing"
        )
        raise Refused(shared, {"kv_heads": None})
    demand_full_width(config, architecture)


def demand_full_width(config: Any, architecture: str) -> None:
    """Raises UserError if the heads do not make up the width."""
    if config.heads * config.features_of_head != config.width:
        problem = f"model.head_dim {config.features_of_head} cannot be written as {architecture}"
        raise Refused(f"{problem}, whose heads make up the width", {"head_dim": None})


def read_sizes(foreign: Mapping[str, Any], names: Mapping[str, str] = SIZES) -> dict[str, Any]:
    """The sizes that most architectures name alike, by our names."""
    return {ours: take(foreign, theirs, int) for ours, theirs in names.items()}


def write_sizes(config: Any, names: Mapping[str, str] = SIZES) -> dict[str, Any]:
    """The same sizes of our config, under the foreign names."""
    return {theirs: getattr(config, ours) for ours, theirs in names.items()}


def layer_rules(
    config: Any,
    stem: str,
    products: Mapping[str, str],
    norms: Mapping[str, str],
    *,
    minus_one: bool = False,
) -> list[Rule]:
    """The rules of the linear layers and norms of every layer.

    `products` and `norms` map our names within a layer to theirs; `stem`, with {layer}, precedes
    these.
    """
    tensor_rules = []
    for path, layers in config.stacks:
        for ours, theirs in products.items():
            has_bias = ours.split("/")[-1] in BIASED[config.bias]
            tensor_rules += linear(f"{path}/{ours}", f"{stem}.{theirs}", layers, bias=has_bias)
        for ours, theirs in norms.items():
            tensor_rules += norm(
                f"{path}/{ours}",
                f"{stem}.{theirs}",
                layers,
                bias=config.norm_bias,
                minus_one=minus_one,
            )
    return tensor_rules
