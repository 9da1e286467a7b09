"""StarCoder2 (2402.19173): LLaMA's attention and GPT-2's norms and feed-forward layer."""

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
from lm_lab.interop.mapping import ModelMapping, Rule

ARCHITECTURES = ("Starcoder2ForCausalLM",)
FIXED = {"norm": "layer", "norm_bias": True, "positions.name": "rotary"}
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", **PLAIN_ACTIVATIONS}
BIASES = {True: "all", False: "none"}
PRODUCTS = {**llama.ATTENTION, "feed_forward/up": "mlp.c_fc", "feed_forward/down": "mlp.c_proj"}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"mlp_type": "default", "norm_type": "layer_norm"})
    return {
        **FIXED,
        **read_sizes(foreign),
        **llama.read_rotary(foreign),
        "kv_heads": take(foreign, "num_key_value_heads", int, 2),
        "feed_forward_dim": take(foreign, "intermediate_size", int),
        "norm_epsilon": take(foreign, "norm_epsilon", float, 1e-5),
        "activation": choose(foreign, "hidden_act", ACTIVATIONS, "gelu_pytorch_tanh"),
        "bias": BIASES[take(foreign, "use_bias", bool, True)],
        "window": take(foreign, "sliding_window", int | None, None),
        "tied": take(foreign, "tie_word_embeddings", bool, True),
        "dropout": take_dropout(foreign, ("residual_dropout", "embedding_dropout"), 0.0),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that StarCoder2 does not have."""
    demand_all(config, "StarCoder2", FIXED, written=("bias", "window"))
    demand_full_width(config, "StarCoder2")
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "starcoder2",
        **write_sizes(config),
        "num_key_value_heads": config.kv_heads or config.heads,
        "intermediate_size": config.inner,
        "norm_epsilon": config.norm_epsilon,
        "hidden_act": spell(config, "activation", "StarCoder2", ACTIVATIONS),
        "use_bias": spell(config, "bias", "StarCoder2", BIASES),
        "sliding_window": config.window,
        "rope_parameters": llama.write_rotary(config),
        "tie_word_embeddings": config.tied,
        "residual_dropout": config.dropout,
        "embedding_dropout": config.dropout,
        **NO_SPECIALS,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    return [*llama.outer_rules(config), *layer_rules(config, llama.LAYER, PRODUCTS, llama.NORMS)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    bare=("Starcoder2Model",),
    ignored=IGNORED,
)
