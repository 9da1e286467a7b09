"""Qwen3 (2505.09388): LLaMA's shape with a norm of each query and key."""

from typing import Any

from lm_lab.interop import llama, qwen2
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import spell, take
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule

ARCHITECTURES = ("Qwen3ForCausalLM",)
BIASES = {False: "none", True: "attention"}
NORMS = {"attention/query_norm": "self_attn.q_norm", "attention/key_norm": "self_attn.k_norm"}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    settings = llama.read_shared({"head_dim": 128} | foreign) | {
        "qk_norm": "rms",
        "window": qwen2.read_window(foreign),
    }
    return settings | {"bias": BIASES[take(foreign, "attention_bias", bool, False)]}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Qwen3 does not have."""
    shared = llama.write_shared(config, "Qwen3", {"qk_norm": "rms"}, written=("bias", "window"))
    qwen_fields = {
        "attention_bias": spell(config, "bias", "Qwen3", BIASES),
        "head_dim": config.features_of_head,
    }
    return (
        {"architectures": [*ARCHITECTURES], "model_type": "qwen3"}
        | shared
        | qwen_fields
        | qwen2.write_window(config)
    )


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    return [*llama.rules(config), *layer_rules(config, llama.LAYER, {}, NORMS)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
