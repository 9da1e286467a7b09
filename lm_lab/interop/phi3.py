"""Phi-3 (2404.14219) and Phi-4: LLaMA's shape; query, key and
value are one matrix, gate and up too.
"""

from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import expect, take, take_dropout
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule, fused

ARCHITECTURES = ("Phi3ForCausalLM",)


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    shared = llama.read_shared({"rms_norm_eps": 1e-5} | foreign, partial=True)
    expect(foreign, {"attention_bias": False})
    # by scalings of positions, which are refused
    take(foreign, "original_max_position_embeddings", int, 4096)
    phi_settings = {"bias": "none", "window": take(foreign, "sliding_window", int | None, None)}
    return (
        shared
        | phi_settings
        | {"dropout": take_dropout(foreign, ("resid_pdrop", "embd_pdrop"), 0.0)}
    )


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Phi-3 does not have."""
    named = {"architectures": [*ARCHITECTURES], "model_type": "phi3"}
    shared = llama.write_shared(config, "Phi-3", written=("window", "positions.share"))
    phi_fields = {
        "sliding_window": config.window,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }
    # transformers chooses between two scalings of positions by this length; here there is no
    # scaling
    return named | shared | phi_fields | {"original_max_position_embeddings": config.length}


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    products = {"attention/out": "self_attn.o_proj", "feed_forward/down": "mlp.down_proj"}
    queries, keys = (
        config.features_of_head * heads for heads in (config.heads, config.kv_heads or config.heads)
    )
    fused_products = {
        "self_attn.qkv_proj": ("attention", ("query", "key", "value"), (queries, keys, keys)),
        "mlp.gate_up_proj": ("feed_forward", ("gate", "up"), (config.inner, config.inner)),
    }
    tensor_rules = [
        *llama.outer_rules(config),
        *layer_rules(config, llama.LAYER, products, llama.NORMS),
    ]
    for theirs, (part, names, sizes) in fused_products.items():
        ours = [f"layers/{part}/{name}/kernel" for name in names]
        stem = f"{llama.LAYER}.{theirs}.weight"
        tensor_rules.append(
            fused(ours, stem, axis=0, transposed=True, layers=range(config.depth), sizes=sizes)
        )
    return tensor_rules


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
