"""Mamba (2312.00752), as transformers stores it: input and gate in one matrix, no feed-forward
layers.
"""

from typing import Any

import numpy as np

from lm_lab.interop.fields import demand, expect, take
from lm_lab.interop.mapping import ModelMapping, Rule, fused, own_head, same, transposed
from lm_lab.types import UserError

ARCHITECTURES = ("MambaForCausalLM",)
IGNORED = ("*lm_head.weight",)
# PEFT refuses the first; for the second, transformers bypasses PEFT's wrapper.
NOT_ADAPTED: dict[str, str] = dict.fromkeys(
    ("out_proj", "dt_proj"), "--config.adapter.targets=\"('input','gate','select')\""
)


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """The fields of our state-space model. Raises UserError naming a field that is missing or not
    supported.
    """
    expect(foreign, {"hidden_act": "silu"})
    width, rank = (
        take(foreign, "hidden_size", int),
        take(foreign, "time_step_rank", int | str, "auto"),
    )
    inner = int(take(foreign, "expand", int | float, 2, low=0) * width)
    expect(foreign, {"intermediate_size": inner})
    if isinstance(rank, str) and rank != "auto":
        raise UserError(f"time_step_rank {rank!r} is neither a number nor 'auto'")
    return {
        "block.name": "mamba",
        "width": width,
        "depth": take(foreign, "num_hidden_layers", int),
        "recurrent_width": inner,
        "block.state": take(foreign, "state_size", int, 16),
        "block.step_rank": -(-width // 16) if rank == "auto" else rank,
        "convolution": take(foreign, "conv_kernel", int, 4),
        "vocab": take(foreign, "vocab_size", int),
        "norm": "rms",
        "norm_epsilon": take(foreign, "layer_norm_epsilon", float, 1e-5),
        "bias": take(foreign, "use_bias", bool, False),
        "conv_bias": take(foreign, "use_conv_bias", bool, True),
        "tied": take(foreign, "tie_word_embeddings", bool, True),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Mamba does not have."""
    demand(
        config,
        "Mamba",
        {
            "block.name": "mamba",
            "attention_every": None,
            "feed_forward_dim": None,
            "norm": "rms",
            "logit_softcap": None,
            "embedding_scaled": False,
        },
    )
    if config.inner % config.width:
        raise UserError(
            f"model.recurrent_width {config.inner} cannot be written as Mamba, where D divides it"
        )
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": "mamba",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "expand": config.inner // config.width,
        "intermediate_size": config.inner,
        "state_size": config.block.state,
        "time_step_rank": config.rank,
        "conv_kernel": config.convolution,
        "vocab_size": config.vocab,
        "layer_norm_epsilon": config.norm_epsilon,
        "use_bias": config.bias,
        "use_conv_bias": config.conv_bias,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def convolution(ours: str, theirs: str, layers: range) -> Rule:
    """The depthwise convolution's weights: [D, 1, W] in torch, [D, W] here."""

    def read(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (x[:, 0],)

    def write(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (x[:, None],)

    return Rule((ours,), (theirs,), read, write, tuple(layers))


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    layers, ours, theirs = (
        range(config.depth),
        "layers/state_space",
        "backbone.layers.{layer}.mixer",
    )
    tensor_rules = [
        same("embed/embedding", "backbone.embeddings.weight"),
        same("layers/mixer_norm/scale", "backbone.layers.{layer}.norm.weight", layers),
        convolution(f"{ours}/convolution/taps", f"{theirs}.conv1d.weight", layers),
        transposed(f"{ours}/select/kernel", f"{theirs}.x_proj.weight", layers),
        transposed(f"{ours}/step/kernel", f"{theirs}.dt_proj.weight", layers),
        same(f"{ours}/step_bias", f"{theirs}.dt_proj.bias", layers),
        same(f"{ours}/log_rates", f"{theirs}.A_log", layers),
        same(f"{ours}/skip", f"{theirs}.D", layers),
        transposed(f"{ours}/out/kernel", f"{theirs}.out_proj.weight", layers),
        same("norm/scale", "backbone.norm_f.weight"),
    ]
    for leaf, name, is_matrix in (("kernel", "weight", True), ("bias", "bias", False))[
        : 1 + config.bias
    ]:
        parts = [f"{ours}/{part}/{leaf}" for part in ("input", "gate")]
        tensor_rules.append(
            fused(parts, f"{theirs}.in_proj.{name}", axis=0, transposed=is_matrix, layers=layers)
        )
    if config.bias:
        tensor_rules.append(same(f"{ours}/out/bias", f"{theirs}.out_proj.bias", layers))
    if config.conv_bias:
        tensor_rules.append(same(f"{ours}/convolution/bias", f"{theirs}.conv1d.bias", layers))
    return [*tensor_rules, *own_head(config)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="state_space",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="backbone.",
    bare=("MambaModel",),
    ignored=IGNORED,
    not_adapted=NOT_ADAPTED,
)
