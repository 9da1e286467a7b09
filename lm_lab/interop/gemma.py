"""Gemma (2403.08295): LLaMA's shape with scaled embeddings; norms hold their scale less 1."""

from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import expect, spell, take
from lm_lab.interop.llama import FAMILY, IGNORED, PREFIX
from lm_lab.interop.mapping import Rule

ARCHITECTURES = ("GemmaForCausalLM",)
BARE = ("GemmaModel",)
BIASES = {False: "none", True: "attention"}

__all__ = ["ARCHITECTURES", "BARE", "FAMILY", "IGNORED", "PREFIX", "read_config", "rules", "write_config"]


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our decoder. Raises UserError naming a field that is missing or not supported."""
    expect(foreign, {"use_bidirectional_attention": None})
    newer = take(foreign, "hidden_activation", str | None, None)
    activation = take(foreign, "hidden_act", str, "gelu") if newer is None else newer
    return read_shared(foreign, activation)


def read_shared(foreign: dict[str, Any], activation: str) -> dict[str, Any]:
    """The fields that all Gemmas call alike. By "gelu" their first releases meant the tanh form, too."""
    activation = "gelu_pytorch_tanh" if activation == "gelu" else activation
    given = {"head_dim": 256, "tie_word_embeddings": True} | foreign | {"hidden_act": activation}
    bias = BIASES[take(foreign, "attention_bias", bool, False)]
    return llama.read_shared(given) | {"bias": bias, "embedding_scaling": True}


def write_config(config: Any) -> dict[str, Any]:
    """A whole config.json. Raises UserError naming a setting that Gemma has not."""
    return {"architectures": [*ARCHITECTURES], "model_type": "gemma"} | write_shared(config, "Gemma")


def write_shared(config: Any, architecture: str, *settings: Any) -> dict[str, Any]:
    """The fields that all Gemmas call alike; further settings as llama.write_shared has them."""
    wanted, written = settings or ({}, ())
    wanted = {"embedding_scaling": True, **wanted}
    shared = llama.write_shared(config, architecture, wanted, written=("bias", *written))
    return shared | {
        "head_dim": config.features_of_head,
        "attention_bias": spell(config, "bias", architecture, BIASES),
    }


def rules(config: Any) -> list[Rule]:
    """Where its tensors are."""
    layers = layer_rules(config, llama.LAYER, llama.ATTENTION | llama.FEED_FORWARD, llama.NORMS, less_1=True)
    return [*llama.outer_rules(config, less_1=True), *layers]
