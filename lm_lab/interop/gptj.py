"""GPT-J (Wang 2021): parallel branches behind one norm; positions turn neighbouring features, here
halves of a head.
"""

import math
from typing import Any

import numpy as np

from lm_lab.interop.decoders import NO_SPECIALS, demand_plain_heads, layer_rules, write_sizes
from lm_lab.interop.fields import (
    PLAIN_ACTIVATIONS,
    choose,
    demand_all,
    expect,
    spell,
    take,
    take_dropout,
)
from lm_lab.interop.mapping import Arrays, ModelMapping, Rule, linear, norm, same

ARCHITECTURES = ("GPTJForCausalLM",)
IGNORED = (
    "transformer.h.*.attn.bias",
    "transformer.h.*.attn.masked_bias",
    "transformer.h.*.attn.embed_positions",
)
IGNORED += ("lm_head.weight",)  # a tied copy

FIXED = {
    "norm": "layer",
    "norm_bias": True,
    "positions.name": "rotary",
    "positions.base": 10_000.0,
    "positions.scaling.name": "none",
    "bias": "feed_forward",
    "head_bias": True,
    "parallel": True,
}
SIZES = {
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
    "vocab": "vocab_size",
    "length": "n_positions",
}
PRODUCTS = {
    "attention/value": "attn.v_proj",
    "attention/out": "attn.out_proj",
    "feed_forward/up": "mlp.fc_in",
    "feed_forward/down": "mlp.fc_out",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    sizes = {ours: take(foreign, theirs, int, low=1) for ours, theirs in SIZES.items()}
    expect(foreign, {"rotary": True, "scale_attn_weights": True})
    turning, size = (
        take(foreign, "rotary_dim", int, 64, low=2),
        max(1, sizes["width"] // sizes["heads"]),
    )
    share = turning / size
    return {
        **FIXED,
        **sizes,
        "positions.share": share
        if int(share * size) == turning
        else math.nextafter(share, 1),  # rounded up
        "feed_forward_dim": take(foreign, "n_inner", int | None, None) or 4 * sizes["width"],
        "norm_epsilon": take(foreign, "layer_norm_epsilon", float, 1e-5),
        "activation": choose(foreign, "activation_function", PLAIN_ACTIVATIONS, "gelu_new"),
        "tied": take(foreign, "tie_word_embeddings", bool, False),
        "dropout": take_dropout(foreign, ("resid_pdrop", "embd_pdrop"), 0.0),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that GPT-J does not have."""
    demand_all(config, "GPT-J", FIXED, written=("positions.share",))
    demand_plain_heads(config, "GPT-J")
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "gptj",
        **write_sizes(config, SIZES),
        "n_inner": config.inner,
        "rotary_dim": _turning(config),
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": spell(config, "activation", "GPT-J", PLAIN_ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        **NO_SPECIALS,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    head = same("head/bias", "lm_head.bias")
    return [
        same("embed/embedding", "transformer.wte.weight"),
        *norm("norm", "transformer.ln_f"),
        *layer_rules(config, "transformer.h.{layer}", PRODUCTS, {"attention_norm": "ln_1"}),
        *(
            _halved(config, part, f"attn.{name}_proj.weight")
            for part, name in (("query", "q"), ("key", "k"))
        ),
        *([head] if config.tied else linear("head", "lm_head")),
    ]


def _turning(config: Any) -> int:
    return int(config.positions.share * config.features_of_head)


def _halved(config: Any, part: str, theirs: str) -> Rule:
    """The rotated features of each head: their pairs (2i, 2i + 1) are ours (i, i + half)."""
    turning, size = _turning(config), config.features_of_head
    of_head = np.concatenate(
        [np.arange(0, turning, 2), np.arange(1, turning, 2), np.arange(turning, size)]
    )
    order = (size * np.arange(config.heads)[:, None] + of_head).reshape(-1)
    back = np.argsort(order)

    def read(x: np.ndarray) -> Arrays:
        return (x[order].T,)

    def write(x: np.ndarray) -> Arrays:
        return (x.T[back],)

    layers = tuple(range(config.depth))
    return Rule(
        (f"layers/attention/{part}/kernel",),
        (f"transformer.h.{{layer}}.{theirs}",),
        read,
        write,
        layers,
    )


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="transformer.",
    ignored=IGNORED,
)
