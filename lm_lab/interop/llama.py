"""LLaMA (2302.13971, 2407.21783), and the parts that its relatives share."""

from collections.abc import Collection, Mapping
from typing import Any

from lm_lab.interop.decoders import NO_SPECIALS, layer_rules, read_sizes, write_sizes
from lm_lab.interop.fields import choose, demand_all, expect, spell, take
from lm_lab.interop.mapping import ModelMapping, Rule, norm, own_head, same
from lm_lab.nn.positions import Llama3, Unscaled
from lm_lab.types import UserError
from lm_lab.values import check

ARCHITECTURES = ("LlamaForCausalLM",)
IGNORED = ("model.layers.*.self_attn.rotary_emb.inv_freq", "*lm_head.weight")

ACTIVATIONS = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu"}
BIASES = {
    (False, False): "none",
    (True, False): "attention",
    (True, True): "all",
}  # of attention, of the other layers
SHARE = "partial_rotary_factor"
LAYER = "model.layers.{layer}"
ATTENTION = {
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/out": "self_attn.o_proj",
}
FEED_FORWARD = {f"feed_forward/{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")}
NORMS = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    has_biases = (
        take(foreign, "attention_bias", bool, False),
        take(foreign, "mlp_bias", bool, False),
    )
    if has_biases not in BIASES:
        raise UserError("mlp_bias True is not supported without attention_bias")
    return read_shared(foreign) | {"bias": BIASES[has_biases]}


def read_shared(foreign: dict[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """The settings that the relatives share; `partial`: only a share of
    each head may be rotated.
    """
    return {
        **read_sizes(foreign),
        "kv_heads": take(foreign, "num_key_value_heads", int | None, None),
        "head_dim": take(foreign, "head_dim", int | None, None),
        "feed_forward_dim": take(foreign, "intermediate_size", int),
        "norm": "rms",
        "norm_epsilon": take(foreign, "rms_norm_eps", float, 1e-6),
        "activation": choose(foreign, "hidden_act", ACTIVATIONS, "silu"),
        "tied": take(foreign, "tie_word_embeddings", bool, False),
        **read_rotary(foreign, 1.0 if partial else None),
    }


def read_rotary(foreign: Mapping[str, Any], share: float | None = None) -> dict[str, Any]:
    """The settings of rotary positions, from transformers 5 (`rope_parameters`) or older versions.

    They rotate `share` of a head's features, unless the fields say otherwise; None: all, and
    another share is refused.
    """
    name = "rope_parameters" if foreign.get("rope_parameters") is not None else "rope_scaling"
    fields = foreign.get(name) or {}
    if not isinstance(fields, dict):
        raise UserError(f"{name} must be an object, not {fields!r}")
    factor = take(fields, SHARE, float, take(foreign, SHARE, float, share or 1.0, low=0.0), low=0.0)
    if share is None:
        expect({SHARE: factor}, {SHARE: 1.0})
    kind = fields.get("rope_type", fields.get("type", "default"))
    base = fields.get("rope_theta", foreign.get("rope_theta", 10_000.0))
    settings = {
        "positions.name": "rotary",
        "positions.base": check(base, float, "rope_theta", {"low": 1.0}),
    }
    if share is not None:
        settings["positions.share"] = factor
    if kind == "default":
        return settings
    if kind not in ("linear", "llama3"):
        raise UserError(
            f"{name}.rope_type {kind!r} is not supported; known: default, linear, llama3"
        )
    settings |= {
        "positions.scaling.name": kind,
        "positions.scaling.factor": _number(fields, name, "factor", float),
    }
    if kind == "llama3":
        settings |= {
            "positions.scaling.low_factor": _number(fields, name, "low_freq_factor", float),
            "positions.scaling.high_factor": _number(fields, name, "high_freq_factor", float),
            "positions.scaling.length": _number(
                fields, name, "original_max_position_embeddings", int
            ),
        }
    return settings


def _number(fields: Mapping[str, Any], name: str, field: str, hint: type) -> Any:
    if field not in fields:
        raise UserError(f"{name}.{field} is missing")
    return check(fields[field], hint, f"{name}.{field}", {})


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that LLaMA does not have."""
    if (
        config.width % config.heads
    ):  # which transformers refuses for LLaMA, but not for its relatives
        raise UserError(
            f"model.width {config.width} cannot be written as LLaMA, where heads {config.heads} "
            "divide it; with model.bias none it is a Mistral, with qkv a Qwen2"
        )
    shared = write_shared(config, "LLaMA", written=("bias",))
    attention, others = spell(config, "bias", "LLaMA", BIASES)
    named = {"architectures": list(ARCHITECTURES), "model_type": "llama"}
    return named | shared | {"attention_bias": attention, "mlp_bias": others}


def write_shared(
    config: Any,
    architecture: str,
    wanted: Mapping[str, Any] | None = None,
    written: Collection[str] = (),
) -> dict[str, Any]:
    """The config.json fields that the relatives share.

    Raises UserError for a setting that is not LLaMA's, not in `wanted`, and not in `written`.
    """
    demand_all(
        config,
        architecture,
        {"norm": "rms", "positions.name": "rotary"} | dict(wanted or {}),
        written,
    )
    return {
        **write_sizes(config),
        "num_key_value_heads": config.kv_heads or config.heads,
        "intermediate_size": config.inner,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": spell(config, "activation", architecture, ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "rope_parameters": write_rotary(config),
        **NO_SPECIALS,
    } | ({} if config.head_dim is None else {"head_dim": config.head_dim})


def write_rotary(config: Any) -> dict[str, Any]:
    """`rope_parameters`, as transformers 5 reads it."""
    fields = {
        "rope_theta": config.positions.base,
        "rope_type": "default",
        SHARE: config.positions.share,
    }
    scaling = config.positions.scaling
    if not isinstance(scaling, Unscaled):
        kind = "llama3" if isinstance(scaling, Llama3) else "linear"
        fields |= {"rope_type": kind, "factor": scaling.factor}
    if isinstance(scaling, Llama3):
        fields |= {
            "low_freq_factor": scaling.low_factor,
            "high_freq_factor": scaling.high_factor,
            "original_max_position_embeddings": scaling.length,
        }
    return fields


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    return [*outer_rules(config), *layer_rules(config, LAYER, ATTENTION | FEED_FORWARD, NORMS)]


def outer_rules(config: Any, *, minus_one: bool = False) -> list[Rule]:
    """The rules of the embedding, the last norm and the head."""
    tensor_rules = [same("embed/embedding", "model.embed_tokens.weight")]
    tensor_rules += norm("norm", "model.norm", bias=config.norm_bias, minus_one=minus_one)
    return [*tensor_rules, *own_head(config)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
