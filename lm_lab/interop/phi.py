"""Phi-1, 1.5 (2309.05463) and 2: parallel branches behind one norm, biases everywhere."""

from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.decoders import (
    NO_SPECIALS,
    demand_full_width,
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
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule, linear, norm, same

ARCHITECTURES = ("PhiForCausalLM",)
FIXED = {
    "norm": "layer",
    "norm_bias": True,
    "positions.name": "rotary",
    "bias": "all",
    "head_bias": True,
    "parallel": True,
}
PRODUCTS = {
    **llama.ATTENTION,
    "attention/out": "self_attn.dense",
    "feed_forward/up": "mlp.fc1",
    "feed_forward/down": "mlp.fc2",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"qk_layernorm": False})
    return {
        **FIXED,
        **read_sizes(foreign),
        **llama.read_rotary(foreign, 0.5),
        "kv_heads": take(foreign, "num_key_value_heads", int | None, None),
        "feed_forward_dim": take(foreign, "intermediate_size", int),
        "norm_epsilon": take(foreign, "layer_norm_eps", float, 1e-5),
        "activation": choose(foreign, "hidden_act", PLAIN_ACTIVATIONS, "gelu_new"),
        "tied": take(foreign, "tie_word_embeddings", bool, False),
        "dropout": take_dropout(foreign, ("resid_pdrop", "embd_pdrop"), 0.0),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Phi does not have."""
    demand_all(config, "Phi", FIXED, written=("positions.share",))
    demand_full_width(config, "Phi")
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "phi",
        **write_sizes(config),
        "num_key_value_heads": config.kv_heads or config.heads,
        "intermediate_size": config.inner,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": spell(config, "activation", "Phi", PLAIN_ACTIVATIONS),
        "rope_parameters": llama.write_rotary(config),
        "tie_word_embeddings": config.tied,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        **NO_SPECIALS,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    return [
        same("embed/embedding", "model.embed_tokens.weight"),
        *norm("norm", "model.final_layernorm"),
        *layer_rules(config, llama.LAYER, PRODUCTS, {"attention_norm": "input_layernorm"}),
        *([same("head/bias", "lm_head.bias")] if config.tied else linear("head", "lm_head")),
    ]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
