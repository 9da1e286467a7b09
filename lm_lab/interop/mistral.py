"""Mistral (2310.06825): LLaMA's shape with a sliding window."""

from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.fields import take
from lm_lab.interop.llama import IGNORED, rules
from lm_lab.interop.mapping import ModelMapping

ARCHITECTURES = ("MistralForCausalLM",)


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    window = take(foreign, "sliding_window", int | None, 4096)
    return llama.read_shared(foreign) | {"bias": "none", "window": window}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Mistral does not have."""
    named = {"architectures": list(ARCHITECTURES), "model_type": "mistral"}
    return (
        named
        | llama.write_shared(config, "Mistral", written=("window",))
        | {"sliding_window": config.window}
    )


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
