"""LLaMA (2302.13971, 2407.21783), and what its relatives share with it."""

from collections.abc import Mapping
from typing import Any

from lm_lab.interop.fields import choose, demand, expect, spell, take
from lm_lab.interop.mapping import Rule, same, turned
from lm_lab.schema import check
from lm_lab.types import UserError

ARCHITECTURES = ("LlamaForCausalLM",)
FAMILY = "decoder"
PREFIX = "model."
IGNORED = ("model.layers.*.self_attn.rotary_emb.inv_freq", "*lm_head.weight")

ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu"}
BIASES = {(False, False): "none", (True, False): "attention", (True, True): "all"}  # of attention, of the rest
OTHERS = {  # what none of the relatives has
    "norm": "rms",
    "positions": "rotary",
    "parallel": False,
    "qk_norm": None,
    "attention_softcap": None,
    "logit_softcap": None,
    "feed_forward_kind": "dense",
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our decoder. Raises UserError naming a field that is missing or not supported."""
    offsets = take(foreign, "attention_bias", bool, False), take(foreign, "mlp_bias", bool, False)
    if offsets not in BIASES:
        raise UserError("mlp_bias True is not supported without attention_bias")
    return read_shared(foreign) | {"bias": BIASES[offsets]}


def read_shared(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields that the relatives call alike."""
    return {
        "width": take(foreign, "hidden_size", int),
        "depth": take(foreign, "num_hidden_layers", int),
        "heads": take(foreign, "num_attention_heads", int),
        "kv_heads": take(foreign, "num_key_value_heads", int | None, None),
        "head_dim": take(foreign, "head_dim", int | None, None),
        "feed_forward": take(foreign, "intermediate_size", int),
        "vocab": take(foreign, "vocab_size", int),
        "length": take(foreign, "max_position_embeddings", int),
        "norm": "rms",
        "norm_epsilon": take(foreign, "rms_norm_eps", float, 1e-6),
        "activation": choose(foreign, "hidden_act", ACTIVATIONS, "silu"),
        "tied": take(foreign, "tie_word_embeddings", bool, False),
        **read_rotary(foreign),
    }


def read_rotary(foreign: Mapping[str, Any]) -> dict[str, Any]:
    """How positions turn, in the form of transformers 5 (`rope_parameters`) or of those before it."""
    name = "rope_parameters" if foreign.get("rope_parameters") is not None else "rope_scaling"
    given = foreign.get(name) or {}
    if not isinstance(given, dict):
        raise UserError(f"{name} must be an object, not {given!r}")
    expect(foreign, {"partial_rotary_factor": 1.0})
    expect(given, {"partial_rotary_factor": 1.0})
    kind = given.get("rope_type", given.get("type", "default"))
    base = given.get("rope_theta", foreign.get("rope_theta", 10_000.0))
    found = {"positions": "rotary", "rotary_base": check(base, float, "rope_theta", {"low": 1.0})}
    if kind == "default":
        return found
    if kind not in ("linear", "llama3"):
        raise UserError(f"{name}.rope_type {kind!r} is not supported; known: default, linear, llama3")
    found |= {"rotary_scaling": kind, "rotary_factor": _number(given, name, "factor", float)}
    if kind == "llama3":
        found |= {
            "rotary_low_factor": _number(given, name, "low_freq_factor", float),
            "rotary_high_factor": _number(given, name, "high_freq_factor", float),
            "rotary_length": _number(given, name, "original_max_position_embeddings", int),
        }
    return found


def _number(given: Mapping[str, Any], name: str, field: str, hint: type) -> Any:
    if field not in given:
        raise UserError(f"{name}.{field} is missing")
    return check(given[field], hint, f"{name}.{field}", {})


def write_config(config: Any) -> dict[str, Any]:
    """A whole config.json. Raises UserError naming a setting that LLaMA has not."""
    demand(config, "LLaMA", {"window": None})
    attention, others = spell(config, "bias", "LLaMA", BIASES)
    named = {"architectures": list(ARCHITECTURES), "model_type": "llama"}
    return named | write_shared(config, "LLaMA") | {"attention_bias": attention, "mlp_bias": others}


def write_shared(config: Any, architecture: str) -> dict[str, Any]:
    """The fields that the relatives call alike."""
    demand(config, architecture, OTHERS)
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "intermediate_size": config.inner,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.length,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": spell(config, "activation", architecture, ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "rope_parameters": write_rotary(config),
        "bos_token_id": None,
        "eos_token_id": None,
    } | ({} if config.head_dim is None else {"head_dim": config.head_dim})


def write_rotary(config: Any) -> dict[str, Any]:
    """`rope_parameters`, as transformers 5 reads it."""
    found = {"rope_theta": config.rotary_base, "rope_type": "default"}
    if config.rotary_scaling != "none":
        found |= {"rope_type": config.rotary_scaling, "factor": config.rotary_factor}
    if config.rotary_scaling == "llama3":
        found |= {
            "low_freq_factor": config.rotary_low_factor,
            "high_freq_factor": config.rotary_high_factor,
            "original_max_position_embeddings": config.rotary_length,
        }
    return found


def rules(config: Any) -> list[Rule]:
    """Where its tensors are."""
    return [*outer_rules(config), *attention_rules(config), *feed_forward_rules(config)]


def outer_rules(config: Any) -> list[Rule]:
    """Of the embedding, the norms and the head."""
    layers = range(config.depth)
    found = [
        same("embed/embedding", "model.embed_tokens.weight"),
        same("layers/attention_norm/scale", "model.layers.{layer}.input_layernorm.weight", layers),
        same("layers/feed_forward_norm/scale", "model.layers.{layer}.post_attention_layernorm.weight", layers),
        same("norm/scale", "model.norm.weight"),
    ]
    return found if config.tied else [*found, turned("head/kernel", "lm_head.weight")]


def attention_rules(config: Any) -> list[Rule]:
    """Of query, key, value and the way out."""
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    found = []
    for ours, theirs in names.items():
        has_bias = config.bias in (("attention", "all") if ours == "out" else ("qkv", "attention", "all"))
        found += products(config, f"attention/{ours}", f"self_attn.{theirs}", bias=has_bias)
    return found


def feed_forward_rules(config: Any) -> list[Rule]:
    """Of the gated feed-forward layer."""
    found = []
    for name in ("gate", "up", "down"):
        found += products(config, f"feed_forward/{name}", f"mlp.{name}_proj", bias=config.bias == "all")
    return found


def products(config: Any, ours: str, theirs: str, *, bias: bool) -> list[Rule]:
    """Of one product in every layer."""
    layers, stem = range(config.depth), f"model.layers.{{layer}}.{theirs}"
    kernel = turned(f"layers/{ours}/kernel", f"{stem}.weight", layers)
    return [kernel, same(f"layers/{ours}/bias", f"{stem}.bias", layers)] if bias else [kernel]
