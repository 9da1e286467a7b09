"""RecurrentGemma (2404.07839), as transformers stores it: Griffin with biases; norms hold their
scale less 1.
"""

from collections.abc import Iterator
from typing import Any

from lm_lab.interop.fields import Refused, demand, expect, take
from lm_lab.interop.mamba import convolution
from lm_lab.interop.mapping import ModelMapping, Rule, own_head, same, scale_minus_one, transposed
from lm_lab.types import UserError

ARCHITECTURES = ("RecurrentGemmaForCausalLM",)
IGNORED = ("*lm_head.weight", "*rotary_emb.inv_freq", "*normalizer")

ALWAYS = {
    "block.name": "rg_lru",
    "norm": "rms",
    "bias": True,
    "conv_bias": True,
    "embedding_scaled": True,
}
GRIFFIN = ["recurrent", "recurrent", "attention"]


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our state-space model. Raises UserError naming a field that is missing or not
    supported.
    """
    expect(foreign, {"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False})
    width, heads = take(foreign, "hidden_size", int), take(foreign, "num_attention_heads", int)
    expect(foreign, {"head_dim": width // max(1, heads)})
    rotary = take(foreign, "rope_parameters", dict | None, None) or {}
    expect(rotary, {"rope_type": "default"})
    share = take(foreign, "partial_rotary_factor", float, 0.5)
    depth = take(foreign, "num_hidden_layers", int)
    return {
        **ALWAYS,
        "width": width,
        "depth": depth,
        "recurrent_width": take(foreign, "lru_width", int | None, None) or width,
        "convolution": take(foreign, "conv1d_width", int, 4),
        "attention_every": _pattern(foreign, depth),
        "window": take(foreign, "attention_window_size", int, 2048),
        "heads": heads,
        "kv_heads": take(foreign, "num_key_value_heads", int | None, None) or heads,
        "positions.base": take(
            rotary, "rope_theta", float, take(foreign, "rope_theta", float, 10_000.0)
        ),
        "positions.share": take(rotary, "partial_rotary_factor", float, share),
        "feed_forward_dim": take(foreign, "intermediate_size", int, low=2) // 2,
        "vocab": take(foreign, "vocab_size", int),
        "norm_epsilon": take(foreign, "rms_norm_eps", float, 1e-6),
        "logit_softcap": take(foreign, "logits_soft_cap", float, 30.0),
        "tied": take(foreign, "tie_word_embeddings", bool, True),
    }


def _pattern(foreign: dict[str, Any], depth: int) -> int | None:
    """attention_every, from block_types. Raises UserError if attention is not at equal
    distances.
    """
    block_types = take(foreign, "block_types", list | None, None) or GRIFFIN
    kinds = (block_types * depth)[:depth]
    every = kinds.index("attention") + 1 if "attention" in kinds else None
    if kinds != _kinds(every, depth):
        raise UserError(
            f"block_types {block_types} is not supported; only 'recurrent', n times, and then "
            "'attention' is"
        )
    return every


def _kinds(every: int | None, depth: int) -> list[str]:
    return [
        "recurrent" if every is None or (layer + 1) % every else "attention"
        for layer in range(depth)
    ]


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that it does not have."""
    demand(config, "RecurrentGemma", ALWAYS)
    if config.logit_softcap is None:
        missing = "model.logit_softcap None cannot be written as RecurrentGemma, which has one"
        raise Refused(missing, {"logit_softcap": 30.0})
    if config.width % config.heads:
        raise UserError(
            f"model.width {config.width} cannot be written as RecurrentGemma, where heads divide it"
        )
    every = config.attention_every
    rotary = {
        "rope_type": "default",
        "rope_theta": config.positions.base,
        "partial_rotary_factor": config.positions.share,
    }
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": "recurrent_gemma",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "lru_width": config.inner,
        "conv1d_width": config.convolution,
        "block_types": ["recurrent"] if every is None else _kinds(every, every),
        "attention_window_size": config.window,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "rope_parameters": rotary,
        "intermediate_size": 2 * config.hidden,
        "vocab_size": config.vocab,
        "rms_norm_eps": config.norm_epsilon,
        "logits_soft_cap": config.logit_softcap,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "tie_word_embeddings": config.tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors; a path holds every attention_every-th
    layer, or the remaining ones.
    """
    groups, leftover = config.groups
    tensor_rules = [
        same("embed/embedding", "model.embed_tokens.weight"),
        scale_minus_one("norm/scale", "model.final_norm.weight"),
    ]
    every = config.attention_every or 1
    for index in range(every if groups else 0):
        layers = range(index, groups * every, every)
        tensor_rules += _layer(f"groups/block_{index}", layers, config, attends=index == every - 1)
    if leftover:
        tensor_rules += _layer(
            "layers", range(config.depth - leftover, config.depth), config, attends=False
        )
    return [*tensor_rules, *own_head(config)]


def _layer(ours: str, layers: range, config: Any, *, attends: bool) -> Iterator[Rule]:
    """The rules of the layers in a path."""
    theirs = "model.layers.{layer}"
    yield scale_minus_one(f"{ours}/mixer_norm/scale", f"{theirs}.temporal_pre_norm.weight", layers)
    yield scale_minus_one(
        f"{ours}/feed_forward_norm/scale", f"{theirs}.channel_pre_norm.weight", layers
    )
    for part in ("up", "gate", "down"):
        path, name = f"{ours}/feed_forward/{part}", f"{theirs}.mlp_block.{part}_proj"
        yield transposed(f"{path}/kernel", f"{name}.weight", layers)
        yield same(f"{path}/bias", f"{name}.bias", layers)
    yield from (_attention if attends else _recurrent)(
        ours, f"{theirs}.temporal_block", layers, config
    )


def _attention(ours: str, theirs: str, layers: range, config: Any) -> Iterator[Rule]:
    del config
    for part, name in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
        yield transposed(f"{ours}/attention/{part}/kernel", f"{theirs}.{name}_proj.weight", layers)
    yield same(f"{ours}/attention/out/bias", f"{theirs}.o_proj.bias", layers)


def _recurrent(ours: str, theirs: str, layers: range, config: Any) -> Iterator[Rule]:
    for part, name in (("gate", "linear_y"), ("input", "linear_x"), ("out", "linear_out")):
        yield transposed(f"{ours}/recurrent/{part}/kernel", f"{theirs}.{name}.weight", layers)
        yield same(f"{ours}/recurrent/{part}/bias", f"{theirs}.{name}.bias", layers)
    yield convolution(f"{ours}/recurrent/convolution/taps", f"{theirs}.conv_1d.weight", layers)
    yield same(f"{ours}/recurrent/convolution/bias", f"{theirs}.conv_1d.bias", layers)
    yield same(f"{ours}/recurrent/unit/rates", f"{theirs}.rg_lru.recurrent_param", layers)
    shape = (config.heads, config.inner // config.heads)
    for part, name in (("input_gate", "input_gate"), ("decay_gate", "recurrent_gate")):
        path = f"{ours}/recurrent/unit/{part}"
        yield same(f"{path}/kernel", f"{theirs}.rg_lru.{name}_weight", layers)
        yield Rule(
            (f"{path}/bias",),
            (f"{theirs}.rg_lru.{name}_bias",),
            lambda x: (x.reshape(-1),),
            lambda x: (x.reshape(shape),),
            tuple(layers),
        )


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="state_space",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
