"""OLMo 2 (2501.00656): LLaMA's shape with norms of what branches add, and of queries and keys over
all heads.
"""

from typing import Any

from lm_lab.interop import llama, qwen3
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import spell, take
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule

ARCHITECTURES = ("Olmo2ForCausalLM",)
FIXED = {"norm_position": "branch", "qk_norm": "rms", "qk_norm_over": "heads"}
NORMS = {
    "attention_out_norm": "post_attention_layernorm",
    "feed_forward_out_norm": "post_feedforward_layernorm",
    **qwen3.NORMS,
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    bias = qwen3.BIASES[take(foreign, "attention_bias", bool, False)]
    return llama.read_shared({"rms_norm_eps": 1e-5} | foreign) | FIXED | {"bias": bias}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that OLMo 2 does not have."""
    shared = llama.write_shared(config, "OLMo 2", FIXED, written=("bias",))
    olmo_fields = {"attention_bias": spell(config, "bias", "OLMo 2", qwen3.BIASES)}
    return {"architectures": [*ARCHITECTURES], "model_type": "olmo2"} | shared | olmo_fields


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    layers = layer_rules(config, llama.LAYER, llama.ATTENTION | llama.FEED_FORWARD, NORMS)
    return [*llama.outer_rules(config), *layers]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
