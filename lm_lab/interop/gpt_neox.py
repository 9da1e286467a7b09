"""GPT-NeoX (2204.06745) and Pythia (2304.01373): parallel branches; query, key and value of a head
side by side.
"""

from typing import Any

import numpy as np

from lm_lab.interop import llama
from lm_lab.interop.decoders import (
    NO_SPECIALS,
    demand_plain_heads,
    layer_rules,
    read_sizes,
    write_sizes,
)
from lm_lab.interop.fields import PLAIN_ACTIVATIONS, choose, demand_all, spell, take, take_dropout
from lm_lab.interop.mapping import Arrays, ModelMapping, Rule, norm, own_head, same

ARCHITECTURES = ("GPTNeoXForCausalLM",)
IGNORED = (  # buffers, and a tied copy
    "gpt_neox.layers.*.attention.bias",
    "gpt_neox.layers.*.attention.masked_bias",
    "gpt_neox.layers.*.attention.rotary_emb.inv_freq",
    "embed_out.weight",
)
RENAMED = {"lm_head.weight": "embed_out.weight"}  # the name in transformers 5, but not in files

FIXED = {"norm": "layer", "norm_bias": True, "positions.name": "rotary"}
LAYER = "gpt_neox.layers.{layer}"
BIASES = {True: "all", False: "feed_forward"}
PRODUCTS = {
    "attention/out": "attention.dense",
    "feed_forward/up": "mlp.dense_h_to_4h",
    "feed_forward/down": "mlp.dense_4h_to_h",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    parallel = take(foreign, "use_parallel_residual", bool, True)
    old = {"rope_theta": take(foreign, "rotary_emb_base", float, 10_000.0)}
    return {
        **FIXED,
        **read_sizes(foreign),
        **llama.read_rotary(old | foreign, take(foreign, "rotary_pct", float, 0.25)),
        "feed_forward_dim": take(foreign, "intermediate_size", int),
        "norm_epsilon": take(foreign, "layer_norm_eps", float, 1e-5),
        "activation": choose(foreign, "hidden_act", PLAIN_ACTIVATIONS, "gelu"),
        "bias": BIASES[take(foreign, "attention_bias", bool, True)],
        "parallel": parallel,
        "parallel_norms": parallel,
        "tied": take(foreign, "tie_word_embeddings", bool, False),
        "dropout": take_dropout(foreign, ("hidden_dropout",), 0.0),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that GPT-NeoX does not have."""
    required = FIXED | {"parallel_norms": config.parallel}
    demand_all(config, "GPT-NeoX", required, written=("bias", "positions.share", "parallel"))
    demand_plain_heads(config, "GPT-NeoX")
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "gpt_neox",
        **write_sizes(config),
        "intermediate_size": config.inner,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": spell(config, "activation", "GPT-NeoX", PLAIN_ACTIVATIONS),
        "attention_bias": spell(config, "bias", "GPT-NeoX", BIASES),
        "rope_parameters": llama.write_rotary(config),
        "use_parallel_residual": config.parallel,
        "tie_word_embeddings": config.tied,
        "hidden_dropout": config.dropout,
        **NO_SPECIALS,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    norms = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
    tensor_rules = [
        same("embed/embedding", "gpt_neox.embed_in.weight"),
        *norm("norm", "gpt_neox.final_layer_norm"),
        *layer_rules(config, LAYER, PRODUCTS, norms),
        _by_head(config, "kernel", "weight"),
    ]
    if config.bias == "all":
        tensor_rules.append(_by_head(config, "bias", "bias"))
    return [*tensor_rules, *own_head(config, "embed_out.weight")]


def _by_head(config: Any, leaf: str, theirs: str) -> Rule:
    """Query, key and value, which they store as rows [H, 3, K, ...]."""

    def read(x: np.ndarray) -> Arrays:
        parts = x.reshape(config.heads, 3, config.features_of_head, *x.shape[1:])
        return tuple(parts[:, part].reshape(config.width, *x.shape[1:]).T for part in range(3))

    def write(*parts: np.ndarray) -> Arrays:
        rows = [
            part.T.reshape(config.heads, config.features_of_head, *part.shape[:-1])
            for part in parts
        ]
        return (np.stack(rows, 1).reshape(3 * config.width, *parts[0].shape[:-1]),)

    ours = tuple(f"layers/attention/{part}/{leaf}" for part in ("query", "key", "value"))
    return Rule(
        ours,
        (f"{LAYER}.attention.query_key_value.{theirs}",),
        read,
        write,
        tuple(range(config.depth)),
    )


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="gpt_neox.",
    ignored=IGNORED,
    renamed=RENAMED,
)
