"""Gemma 3 (2503.19786), the model of text: Gemma 2 with norms of queries and keys, and two rotary
bases.
"""

from typing import Any

from lm_lab.interop import gemma2, llama
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import expect, take
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule
from lm_lab.interop.qwen2 import FULL, WINDOWED
from lm_lab.interop.qwen3 import NORMS

ARCHITECTURES = ("Gemma3ForCausalLM",)


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"use_bidirectional_attention": False, "attn_logit_softcapping": None})
    rotary_by_kind = take(foreign, "rope_parameters", dict | None, None) or {}
    global_fields = {"rope_theta": 1e6} | foreign | {"rope_parameters": rotary_by_kind.get(FULL)}
    local_fields = {
        "rope_theta": take(foreign, "rope_local_base_freq", float, 1e4),
        "rope_parameters": rotary_by_kind.get(WINDOWED),
    }
    local_rotary = llama.read_rotary(local_fields)
    expect(local_rotary, {"positions.scaling.name": "none"})
    every = take(
        foreign,
        "sliding_window_pattern",
        int,
        take(foreign, "_sliding_window_pattern", int, 6),
        low=1,
    )
    settings = gemma2.read_shared(global_fields, every) | {
        "qk_norm": "rms",
        "positions.window_base": local_rotary["positions.base"],
    }
    return settings if settings["window"] else settings | {"positions.window_base": None}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Gemma 3 does not have."""
    required = {"qk_norm": "rms", "attention_softcap": None}
    shared = gemma2.write_shared(config, "Gemma 3", required, written=("positions.window_base",))
    global_rotary, base = shared["rope_parameters"], config.positions.window_base
    local_rotary = global_rotary if base is None else {"rope_type": "default", "rope_theta": base}
    named = {"architectures": [*ARCHITECTURES], "model_type": "gemma3_text"}
    return named | shared | {"rope_parameters": {FULL: global_rotary, WINDOWED: local_rotary}}


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    return [*gemma2.rules(config), *layer_rules(config, llama.LAYER, {}, NORMS, minus_one=True)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    bare=("Gemma3TextModel",),
    ignored=IGNORED,
)
