"""ModernBERT with its masked-token head (2412.13663): pre-norm layers, two of three with a window,
without biases.
"""

from typing import Any

from lm_lab.interop import llama
from lm_lab.interop.decoders import NO_SPECIALS, demand_full_width, read_sizes, write_sizes
from lm_lab.interop.fields import Refused, choose, demand_all, expect, spell, take, take_dropout
from lm_lab.interop.mapping import ModelMapping, Rule, fused, norm, own_head, same, transposed
from lm_lab.interop.qwen2 import FULL, WINDOWED
from lm_lab.types import UserError

ARCHITECTURES = ("ModernBertForMaskedLM",)
IGNORED = ("decoder.weight",)  # a tied copy

FIXED = {
    "kinds": 0,
    "norm": "layer",
    "norm_position": "pre",
    "embedding_norm": True,
    "positions.name": "rotary",
    "bare_first": True,
    "bias": False,
}
ACTIVATIONS = {"gelu": "geglu_exact"}
BASES = {"positions.base": (FULL, "global_rope_theta", 160_000.0)}
BASES["positions.window_base"] = (WINDOWED, "local_rope_theta", 10_000.0)


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our encoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(
        foreign,
        {
            "attention_bias": False,
            "mlp_bias": False,
            "classifier_bias": False,
            "decoder_bias": True,
        },
    )
    expect(foreign, {"classifier_activation": "gelu", "position_embedding_type": "absolute"})
    return {
        **FIXED,
        **read_sizes(foreign),
        "feed_forward_dim": take(foreign, "intermediate_size", int),
        "norm_bias": take(foreign, "norm_bias", bool, False),
        "norm_epsilon": take(foreign, "norm_eps", float, 1e-5),
        "activation": choose(foreign, "hidden_activation", ACTIVATIONS, "gelu"),
        "tied": take(foreign, "tie_word_embeddings", bool, True),
        "dropout": take_dropout(foreign, ("mlp_dropout", "embedding_dropout"), 0.0),
        "window": take(foreign, "local_attention", int, 128, low=2) // 2 + 1,
        "global_every": _pattern(foreign),
        **_bases(foreign),
    }


def _pattern(foreign: dict[str, Any]) -> int | None:
    """global_every. Raises UserError unless layers without a window are at equal distances.

    The first layer must be one of them.
    """
    depth, default_every = (
        take(foreign, "num_hidden_layers", int),
        take(foreign, "global_attn_every_n_layers", int, 3, low=1),
    )
    layer_types, global_every = (
        take(foreign, "layer_types", list | None, None),
        default_every if default_every < depth else None,
    )
    if layer_types:
        global_every = layer_types.index(FULL, 1) if FULL in layer_types[1:] else None
    if global_every == 1 or (
        layer_types and (len(layer_types) != depth or layer_types != _kinds(depth, global_every))
    ):
        raise UserError(
            "layer_types is not supported: layers without a window must come at equal distances, "
            "and not one after another, from the first on"
        )
    return global_every


def _kinds(depth: int, every: int | None) -> list[str]:
    return [FULL if layer % (every or depth) == 0 else WINDOWED for layer in range(depth)]


def _bases(foreign: dict[str, Any]) -> dict[str, Any]:
    """The rotary bases of layers without and with a window, from
    transformers 5 or older versions.
    """
    rotary_by_kind, bases = take(foreign, "rope_parameters", dict | None, None) or {}, {}
    for ours, (kind, old, default) in BASES.items():
        fields = {
            "rope_theta": take(foreign, old, float, default),
            "rope_parameters": rotary_by_kind.get(kind),
        }
        rotary = llama.read_rotary(fields)
        expect(rotary, {"positions.scaling.name": "none"})
        bases[ours] = rotary["positions.base"]
    return bases


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that ModernBERT does not have."""
    demand_all(
        config,
        "ModernBERT",
        FIXED,
        written=("norm_bias", "window", "global_every", "positions.window_base"),
    )
    demand_full_width(config, "ModernBERT")
    if config.window is None:
        raise Refused(
            "model.window None cannot be written as ModernBERT, which has one", {"window": 64}
        )
    bases = (config.positions.base, config.positions.window_base or config.positions.base)
    rotary = {
        kind: {"rope_type": "default", "rope_theta": base}
        for kind, base in zip((FULL, WINDOWED), bases)
    }
    return {
        "architectures": [*ARCHITECTURES],
        "model_type": "modernbert",
        **write_sizes(config),
        "intermediate_size": config.inner,
        "norm_bias": config.norm_bias,
        "norm_eps": config.norm_epsilon,
        "hidden_activation": spell(config, "activation", "ModernBERT", ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "local_attention": 2 * (config.window - 1),
        "layer_types": _kinds(config.depth, config.global_every),
        "rope_parameters": rotary,
        "mlp_dropout": config.dropout,
        "embedding_dropout": config.dropout,
        **NO_SPECIALS,
        "cls_token_id": None,
        "sep_token_id": None,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    tensor_rules = [
        same("embed/embedding", "model.embeddings.tok_embeddings.weight"),
        *norm("embedding_norm", "model.embeddings.norm", bias=config.norm_bias),
        *norm("norm", "model.final_norm", bias=config.norm_bias),
        transposed("transform/kernel", "head.dense.weight"),
        *norm("transform_norm", "head.norm", bias=config.norm_bias),
        same("head/bias", "decoder.bias"),
    ]
    for path, layers in (("first", range(1)), *config.stacks):
        tensor_rules += _layer(path, layers, config)
    return [*tensor_rules, *own_head(config, "decoder.weight")]


def _layer(path: str, layers: range, config: Any) -> list[Rule]:
    """The rules of the layers in a path.

    The first layer has no norm before its attention; its path is named by its number.
    """
    stem, numbers = (
        ("model.layers.0", None) if path == "first" else ("model.layers.{layer}", layers)
    )
    queries = [f"{path}/attention/{part}/kernel" for part in ("query", "key", "value")]
    gated = [f"{path}/feed_forward/{part}/kernel" for part in ("gate", "up")]
    tensor_rules = [
        fused(queries, f"{stem}.attn.Wqkv.weight", axis=0, transposed=True, layers=numbers),
        fused(gated, f"{stem}.mlp.Wi.weight", axis=0, transposed=True, layers=numbers),
        transposed(f"{path}/attention/out/kernel", f"{stem}.attn.Wo.weight", numbers),
        transposed(f"{path}/feed_forward/down/kernel", f"{stem}.mlp.Wo.weight", numbers),
        *norm(f"{path}/feed_forward_norm", f"{stem}.mlp_norm", numbers, bias=config.norm_bias),
    ]
    if path == "first":
        return tensor_rules
    return [
        *tensor_rules,
        *norm(f"{path}/attention_norm", f"{stem}.attn_norm", numbers, bias=config.norm_bias),
    ]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
