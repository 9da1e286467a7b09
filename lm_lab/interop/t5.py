"""T5 (1910.10683), v1.0 and v1.1, as transformers stores it: numbered parts, no biases."""

from typing import Any

from lm_lab.interop.fields import choose, demand, inverse, spell, take, take_dropout
from lm_lab.interop.mapping import ModelMapping, Rule, own_head, same, transposed

ARCHITECTURES = ("T5ForConditionalGeneration",)
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
IGNORED = (*COPIES, "lm_head.weight")

ACTIVATIONS = {
    "relu": "relu",
    "gated-gelu": "geglu",
    "gated-silu": "swiglu",
    "gelu_new": "gelu",
    "gelu": "gelu_exact",
}
FIXED = {
    "norm": "rms",
    "norm_position": "pre",
    "feed_forward.name": "dense",
    "positions.name": "relative",
    "bias": False,
    "score_scaling": False,
    "embedding_norm": False,
    "embedding_scaling": False,
    "head_bias": False,
}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our encoder-decoder. Raises UserError naming a field that is missing or not
    supported.
    """
    depth = take(foreign, "num_layers", int)
    tied = take(foreign, "tie_word_embeddings", bool, True)
    return {
        **FIXED,
        "width": take(foreign, "d_model", int),
        "depth": take(foreign, "num_decoder_layers", int | None, None) or depth,
        "encoder_depth": depth,
        "heads": take(foreign, "num_heads", int),
        "head_dim": take(foreign, "d_kv", int),
        "feed_forward_dim": take(foreign, "d_ff", int),
        "vocab": take(foreign, "vocab_size", int),
        "norm_epsilon": take(foreign, "layer_norm_epsilon", float, 1e-6),
        "positions.buckets": take(foreign, "relative_attention_num_buckets", int, 32),
        "positions.reach": take(foreign, "relative_attention_max_distance", int, 128),
        "activation": choose(foreign, "feed_forward_proj", ACTIVATIONS, "relu"),
        "start_id": read_start(foreign),
        "dropout": take_dropout(foreign, ("dropout_rate",)),
        "tied": tied,
        # Older releases of transformers scale the features before a tied head (v1.0).
        "head_scaling": take(foreign, "scale_decoder_outputs", bool, tied),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that T5 does not have."""
    demand(config, "T5", FIXED)
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": "t5",
        "d_model": config.width,
        "num_layers": config.depth_of_encoder,
        "num_decoder_layers": config.depth,
        "num_heads": config.heads,
        "d_kv": config.features_of_head,
        "d_ff": config.inner,
        "vocab_size": config.vocab,
        "layer_norm_epsilon": config.norm_epsilon,
        "relative_attention_num_buckets": config.positions.buckets,
        "relative_attention_max_distance": config.positions.reach,
        "feed_forward_proj": spell(config, "activation", "T5", ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "scale_decoder_outputs": config.head_scaling,
        "dropout_rate": config.dropout,
        "is_encoder_decoder": True,
        "decoder_start_token_id": written_start(config),
        "pad_token_id": None,
        "eos_token_id": None,
    }


def read_start(foreign: dict[str, Any]) -> int | None:
    """The decoder's start id; None if there is none, or if it is no row of the embedding."""
    start = take(foreign, "decoder_start_token_id", int | None, None)
    return start if start is None or 0 <= start < take(foreign, "vocab_size", int) else None


def written_start(config: Any) -> int:
    """The decoder's start id: the model's, or the last of those that our objectives add."""
    return config.vocab - 1 if config.start_id is None else config.start_id


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    tensor_rules = [same("embed/embedding", "shared.weight")]
    stacks = (
        ("encoder", "encoder_", "encoder", config.depth_of_encoder),
        ("decoder", "", "layers", config.depth),
    )
    for side, prefix, stack, depth in stacks:
        layer, layers = f"{side}.block.{{layer}}.layer", range(depth)
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        tensor_rules += [
            same(f"{prefix}positions/table/embedding", bias),
            same(f"{prefix}norm/scale", f"{side}.final_layer_norm.weight"),
        ]
        parts = {
            "attention": "SelfAttention",
            "cross_attention": "EncDecAttention",
            "feed_forward": "DenseReluDense",
        }
        if side == "encoder":
            del parts["cross_attention"]
        for number, (part, name) in enumerate(parts.items()):
            tensor_rules.append(
                same(f"{stack}/{part}_norm/scale", f"{layer}.{number}.layer_norm.weight", layers)
            )
            matrices = _feed_forward(config) if part == "feed_forward" else ATTENTION
            tensor_rules += [
                transposed(
                    f"{stack}/{part}/{ours}/kernel",
                    f"{layer}.{number}.{name}.{theirs}.weight",
                    layers,
                )
                for ours, theirs in matrices.items()
            ]
    return [*tensor_rules, *own_head(config)]


ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}


def _feed_forward(config: Any) -> dict[str, str]:
    gated = inverse(ACTIVATIONS)[config.activation].startswith("gated")
    return {"gate": "wi_0", "up": "wi_1", "down": "wo"} if gated else {"up": "wi", "down": "wo"}


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="encoder_decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    bare=("T5Model",),
    ignored=IGNORED,
    copies=COPIES,
)
