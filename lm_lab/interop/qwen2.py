"""Qwen2 (2407.10671): LLaMA's shape with biases of query, key and value."""

from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.fields import take
from lm_lab.interop.llama import IGNORED, rules
from lm_lab.interop.mapping import ModelMapping
from lm_lab.types import UserError

ARCHITECTURES = ("Qwen2ForCausalLM",)

WINDOWED, FULL = "sliding_attention", "full_attention"


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    return llama.read_shared(foreign) | {"bias": "qkv", "window": read_window(foreign)}


def read_window(foreign: dict[str, Any]) -> int | None:
    """The window of all layers.

    The first max_window_layers layers have none, unless layer_types says otherwise.
    """
    depth = take(foreign, "num_hidden_layers", int)
    full = min(take(foreign, "max_window_layers", int, 28, low=0), depth)
    layer_types = take(foreign, "layer_types", list | None, None)
    kinds = {FULL} if full == depth else {FULL, WINDOWED} if full else {WINDOWED}
    kinds = set(map(str, layer_types)) if layer_types else kinds
    window = take(foreign, "sliding_window", int | None, 4096)
    if not take(foreign, "use_sliding_window", bool, False) or kinds == {FULL}:
        return None
    if kinds != {WINDOWED}:
        raise UserError(
            "layer_types with a window in some layers only is not supported; see max_window_layers"
        )
    return window


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Qwen2 does not have."""
    named = {"architectures": list(ARCHITECTURES), "model_type": "qwen2"}
    return (
        named
        | llama.write_shared(config, "Qwen2", {"bias": "qkv"}, written=("window",))
        | write_window(config)
    )


def write_window(config: Any) -> dict[str, Any]:
    """The fields that say which layers have a window: all, or none."""
    if config.window is None:
        return {"use_sliding_window": False, "layer_types": [FULL] * config.depth}
    window = {"use_sliding_window": True, "sliding_window": config.window, "max_window_layers": 0}
    return window | {"layer_types": [WINDOWED] * config.depth}


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
