"""OPT (2205.01068): GPT-2's shape, with positions from the third row on."""

from typing import Any

from lm_lab.interop.decoders import (
    NO_SPECIALS,
    demand_plain_heads,
    layer_rules,
    read_sizes,
    write_sizes,
)
from lm_lab.interop.fields import (
    PLAIN_ACTIVATIONS,
    choose,
    demand_all,
    expect,
    spell,
    take,
    take_dropout,
)
from lm_lab.interop.mapping import ModelMapping, Rule, norm, own_head, same, skip_rows

ARCHITECTURES = ("OPTForCausalLM",)
IGNORED = ("lm_head.weight",)  # a tied copy

FIXED = {"norm": "layer", "norm_bias": True, "norm_epsilon": 1e-5, "positions.name": "learned"}
BIASES = {True: "all", False: "none"}
PRODUCTS = {
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/out": "self_attn.out_proj",
    "feed_forward/up": "fc1",
    "feed_forward/down": "fc2",
}
NORMS = {"attention_norm": "self_attn_layer_norm", "feed_forward_norm": "final_layer_norm"}
UNUSED = 2  # rows of the position table before that of position 0


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    sizes = read_sizes(foreign)
    expect(foreign, {"do_layer_norm_before": True, "layer_norm_elementwise_affine": True})
    expect(foreign, {"word_embed_proj_dim": sizes["width"], "_remove_final_layer_norm": False})
    return {
        **FIXED,
        **sizes,
        "feed_forward_dim": take(foreign, "ffn_dim", int),
        "activation": choose(foreign, "activation_function", PLAIN_ACTIVATIONS, "relu"),
        "bias": BIASES[take(foreign, "enable_bias", bool, True)],
        "tied": take(foreign, "tie_word_embeddings", bool, True),
        "dropout": take_dropout(foreign, ("dropout",)),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that OPT does not have."""
    demand_all(config, "OPT", FIXED, written=("bias",))
    demand_plain_heads(config, "OPT")
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "opt",
        **write_sizes(config),
        "ffn_dim": config.inner,
        "activation_function": spell(config, "activation", "OPT", PLAIN_ACTIVATIONS),
        "enable_bias": spell(config, "bias", "OPT", BIASES),
        "tie_word_embeddings": config.tied,
        "dropout": config.dropout,
        **NO_SPECIALS,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    tensor_rules = [
        same("embed/embedding", "model.decoder.embed_tokens.weight"),
        skip_rows("positions/embedding", "model.decoder.embed_positions.weight", UNUSED),
        *layer_rules(config, "model.decoder.layers.{layer}", PRODUCTS, NORMS),
        *norm("norm", "model.decoder.final_layer_norm"),
    ]
    return [*tensor_rules, *own_head(config)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    bare=("OPTModel",),
    ignored=IGNORED,
)
