"""BART (1910.13461), as transformers stores it: positions from the third row on, biases
everywhere.
"""

from typing import Any

from lm_lab.interop.fields import (
    PLAIN_ACTIVATIONS,
    choose,
    demand,
    expect,
    spell,
    take,
    take_dropout,
)
from lm_lab.interop.mapping import ModelMapping, Rule, linear, norm, same, skip_rows
from lm_lab.interop.t5 import read_start, written_start
from lm_lab.types import UserError

ARCHITECTURES = ("BartForConditionalGeneration",)
COPIES = (
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
IGNORED = COPIES
OPTIONAL = ("final_logits_bias",)

COMMON = {
    "norm": "layer",
    "norm_bias": True,
    "norm_epsilon": 1e-5,
    "norm_position": "post",
    "feed_forward.name": "dense",
    "bias": True,
    "score_scaling": True,
    "tied": True,
    "head_scaling": False,
    "head_bias": True,
}
FIXED = {**COMMON, "positions.name": "learned", "embedding_norm": True}

UNUSED = 2  # rows of the position table before that of position 0


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our encoder-decoder. Raises UserError naming a field that is missing or not
    supported.
    """
    return {**FIXED, **sizes(foreign, PLAIN_ACTIVATIONS)}


def sizes(foreign: dict[str, Any], activations: dict[str, str]) -> dict[str, Any]:
    """The settings that BART and its successors share.

    Encoder and decoder have the same numbers of heads and inner features.
    """
    heads, inner = (
        take(foreign, f"encoder_{name}", int) for name in ("attention_heads", "ffn_dim")
    )
    alike = {
        "decoder_attention_heads": heads,
        "decoder_ffn_dim": inner,
        "tie_word_embeddings": True,
    }
    expect(foreign, {**alike, "normalize_before": False, "add_final_layer_norm": False})
    return {
        "width": take(foreign, "d_model", int),
        "depth": take(foreign, "decoder_layers", int),
        "encoder_depth": take(foreign, "encoder_layers", int),
        "heads": heads,
        "feed_forward_dim": inner,
        "vocab": take(foreign, "vocab_size", int),
        "length": take(foreign, "max_position_embeddings", int, 1024),
        "embedding_scaling": take(foreign, "scale_embedding", bool, False),
        "activation": choose(foreign, "activation_function", activations, "gelu"),
        "start_id": read_start(foreign),
        "dropout": take_dropout(foreign, ("dropout",)),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that BART does not have."""
    demand(config, "BART", FIXED)
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": "bart",
        **written(config, "BART", PLAIN_ACTIVATIONS),
    }


def written(config: Any, name: str, activations: dict[str, str]) -> dict[str, Any]:
    """The config.json fields that BART and its successors share. Raises UserError."""
    demand(config, name, {"features_of_head": config.width // config.heads})
    if config.width % config.heads:
        raise UserError(
            f"model.width {config.width} cannot be written as {name}, where heads {config.heads} "
            "divide it"
        )
    both = {"attention_heads": config.heads, "ffn_dim": config.inner, "layerdrop": 0.0}
    return {
        **{
            f"{side}_{field}": value
            for side in ("encoder", "decoder")
            for field, value in both.items()
        },
        "encoder_layers": config.depth_of_encoder,
        "decoder_layers": config.depth,
        "d_model": config.width,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.length,
        "activation_function": spell(config, "activation", name, activations),
        "scale_embedding": config.embedding_scaling,
        "tie_word_embeddings": True,
        "dropout": config.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "is_encoder_decoder": True,
        "decoder_start_token_id": written_start(config),
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "forced_eos_token_id")),
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    tensor_rules = body(config)
    for side, prefix in (("encoder", "encoder_"), ("decoder", "")):
        tensor_rules.append(
            skip_rows(
                f"{prefix}positions/embedding", f"model.{side}.embed_positions.weight", UNUSED
            )
        )
        tensor_rules += norm(f"{prefix}embedding_norm", f"model.{side}.layernorm_embedding")
    return tensor_rules


def body(config: Any) -> list[Rule]:
    """The rules of the tensors that BART and its successors share."""
    logits_bias = Rule(
        ("head/bias",), ("final_logits_bias",), lambda x: (x[0],), lambda x: (x[None],)
    )
    tensor_rules = [same("embed/embedding", "model.shared.weight"), logits_bias]
    for side, stack, depth in (
        ("encoder", "encoder", config.depth_of_encoder),
        ("decoder", "layers", config.depth),
    ):
        layer, layers = f"model.{side}.layers.{{layer}}", range(depth)
        attentions = {"attention": "self_attn"} | (
            {"cross_attention": "encoder_attn"} if side == "decoder" else {}
        )
        for ours, theirs in attentions.items():
            tensor_rules += norm(f"{stack}/{ours}_norm", f"{layer}.{theirs}_layer_norm", layers)
            for part, name in (
                ("query", "q_proj"),
                ("key", "k_proj"),
                ("value", "v_proj"),
                ("out", "out_proj"),
            ):
                tensor_rules += linear(f"{stack}/{ours}/{part}", f"{layer}.{theirs}.{name}", layers)
        tensor_rules += norm(f"{stack}/feed_forward_norm", f"{layer}.final_layer_norm", layers)
        for part, name in (("up", "fc1"), ("down", "fc2")):
            tensor_rules += linear(f"{stack}/feed_forward/{part}", f"{layer}.{name}", layers)
    return tensor_rules


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder_decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    bare=("BartModel",),
    ignored=IGNORED,
    optional=OPTIONAL,
    copies=COPIES,
)
