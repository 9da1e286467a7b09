"""Gemma 2 (2408.00118): Gemma with norms around each branch, bounded scores and logits, and every
other layer local.
"""

from collections.abc import Collection, Mapping
from typing import Any

from lm_lab.interop import gemma, llama
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import expect, take
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule
from lm_lab.interop.qwen2 import FULL, WINDOWED
from lm_lab.types import UserError

ARCHITECTURES = ("Gemma2ForCausalLM",)
WRITTEN = ("window", "global_every", "attention_scale", "attention_softcap", "logit_softcap")
NORMS = {
    "attention_norm": "input_layernorm",
    "attention_out_norm": "post_attention_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    "feed_forward_out_norm": "post_feedforward_layernorm",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"use_bidirectional_attention": None})
    return read_shared(
        {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0} | foreign, every=2
    )


def read_shared(foreign: dict[str, Any], every: int) -> dict[str, Any]:
    """The fields that Gemma 2 and 3 call alike; without layer_types, every `every`-th layer has no
    window.
    """
    activation = take(foreign, "hidden_activation", str, "gelu_pytorch_tanh")
    return gemma.read_shared(foreign, activation) | {
        "norm_position": "both",
        "attention_scale": take(foreign, "query_pre_attn_scalar", int, 256, low=1) ** -0.5,
        "attention_softcap": take(foreign, "attn_logit_softcapping", float | None, None),
        "logit_softcap": take(foreign, "final_logit_softcapping", float | None, None),
        **_read_windows(foreign, every),
    }


def _read_windows(foreign: dict[str, Any], default_every: int) -> dict[str, Any]:
    """Which layers have a window. Raises UserError where those without do not come at equal
    distances.
    """
    depth, window = (
        take(foreign, "num_hidden_layers", int),
        take(foreign, "sliding_window", int | None, 4096),
    )
    layer_types, global_every = (
        take(foreign, "layer_types", list | None, None),
        default_every if default_every <= depth else None,
    )
    if layer_types:
        global_every = layer_types.index(FULL) + 1 if FULL in layer_types else None
        if len(layer_types) != depth or layer_types != _kinds(depth, global_every):
            raise UserError(
                "layer_types is not supported: layers without a window must come at equal "
                "distances, last in each group"
            )
    if window is None or global_every == 1:
        return {"window": None, "global_every": None}
    return {"window": window, "global_every": global_every}


def _kinds(depth: int, every: int | None) -> list[str]:
    return [WINDOWED if every is None or (layer + 1) % every else FULL for layer in range(depth)]


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Gemma 2 does not have."""
    return {"architectures": [*ARCHITECTURES], "model_type": "gemma2"} | write_shared(
        config, "Gemma 2"
    )


def write_shared(
    config: Any,
    architecture: str,
    wanted: Mapping[str, Any] | None = None,
    written: Collection[str] = (),
) -> dict[str, Any]:
    """The fields that Gemma 2 and 3 call alike. Raises UserError as llama.write_shared does."""
    wanted = {"norm_position": "both"} | dict(wanted or {})
    shared = gemma.write_shared(config, architecture, wanted, (*WRITTEN, *written))
    scale = (config.attention_scale or config.features_of_head**-0.5) ** -2
    if abs(scale - round(scale)) > 1e-9 * scale:
        raise UserError(
            f"model.attention_scale {config.attention_scale} cannot be written as {architecture}, "
            "where it is the root of 1 over a whole number"
        )
    return shared | {
        "hidden_activation": shared.pop("hidden_act"),
        "query_pre_attn_scalar": round(scale),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        "sliding_window": config.window or 4096,  # which transformers asks for, whatever layers are
        "layer_types": _kinds(config.depth, 1 if config.window is None else config.global_every),
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    layers = layer_rules(
        config, llama.LAYER, llama.ATTENTION | llama.FEED_FORWARD, NORMS, minus_one=True
    )
    return [*llama.outer_rules(config, minus_one=True), *layers]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    bare=("Gemma2Model",),
    ignored=IGNORED,
)
