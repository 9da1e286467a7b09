"""Gemma (2403.08295): LLaMA's shape with scaled embeddings; norms hold their scale less 1."""

from collections.abc import Collection, Mapping
from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import expect, spell, take
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule

ARCHITECTURES = ("GemmaForCausalLM",)
BIASES = {False: "none", True: "attention"}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"use_bidirectional_attention": None})
    activation = take(foreign, "hidden_activation", str | None, None) or take(
        foreign, "hidden_act", str, "gelu"
    )
    # By "gelu" the first releases meant the tanh form, too.
    return read_shared(foreign, "gelu_pytorch_tanh" if activation == "gelu" else activation)


def read_shared(foreign: dict[str, Any], activation: str) -> dict[str, Any]:
    """The fields that all Gemmas call alike."""
    with_defaults = (
        {"head_dim": 256, "tie_word_embeddings": True} | foreign | {"hidden_act": activation}
    )
    bias = BIASES[take(foreign, "attention_bias", bool, False)]
    return llama.read_shared(with_defaults) | {"bias": bias, "embedding_scaling": True}


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Gemma does not have."""
    return {"architectures": [*ARCHITECTURES], "model_type": "gemma"} | write_shared(
        config, "Gemma"
    )


def write_shared(
    config: Any,
    architecture: str,
    wanted: Mapping[str, Any] | None = None,
    written: Collection[str] = (),
) -> dict[str, Any]:
    """The fields that all Gemmas call alike. Raises UserError as llama.write_shared does."""
    wanted = {"embedding_scaling": True} | dict(wanted or {})
    shared = llama.write_shared(config, architecture, wanted, written=("bias", *written))
    gemma_fields = {
        "head_dim": config.features_of_head,
        "attention_bias": spell(config, "bias", architecture, BIASES),
    }
    return shared | gemma_fields


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    layers = layer_rules(
        config, llama.LAYER, llama.ATTENTION | llama.FEED_FORWARD, llama.NORMS, minus_one=True
    )
    return [*llama.outer_rules(config, minus_one=True), *layers]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    bare=("GemmaModel",),
    ignored=IGNORED,
)
