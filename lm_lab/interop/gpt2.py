"""GPT-2 (Radford 2019), as transformers stores it: query, key and value in one kernel, kernels [in,
out].
"""

from typing import Any

from lm_lab.interop.decoders import demand_plain_heads
from lm_lab.interop.fields import (
    PLAIN_ACTIVATIONS,
    choose,
    demand_all,
    expect,
    spell,
    take,
    take_dropout,
)
from lm_lab.interop.mapping import ModelMapping, Rule, fused, own_head, same

ARCHITECTURES = ("GPT2LMHeadModel",)
IGNORED = ("transformer.h.*.attn.bias", "transformer.h.*.attn.masked_bias", "*lm_head.weight")


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(
        foreign,
        {
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
    )
    return {
        "width": take(foreign, "n_embd", int),
        "depth": take(foreign, "n_layer", int),
        "heads": take(foreign, "n_head", int),
        "feed_forward_dim": take(foreign, "n_inner", int | None, None)
        or 4 * take(foreign, "n_embd", int),
        "vocab": take(foreign, "vocab_size", int),
        "length": take(foreign, "n_positions", int),
        "norm": "layer",
        "norm_bias": True,
        "norm_epsilon": take(foreign, "layer_norm_epsilon", float, 1e-5),
        "positions.name": "learned",
        "activation": choose(foreign, "activation_function", PLAIN_ACTIVATIONS, "gelu_new"),
        "bias": "all",
        "tied": take(foreign, "tie_word_embeddings", bool, True),
        "dropout": take_dropout(foreign, ("resid_pdrop", "embd_pdrop")),
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that GPT-2 does not have."""
    required = {"norm": "layer", "norm_bias": True, "positions.name": "learned", "bias": "all"}
    demand_all(config, "GPT-2", required)
    demand_plain_heads(config, "GPT-2")
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": "gpt2",
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.inner,
        "vocab_size": config.vocab,
        "n_positions": config.length,
        "layer_norm_epsilon": config.norm_epsilon,
        "activation_function": spell(config, "activation", "GPT-2", PLAIN_ACTIVATIONS),
        "tie_word_embeddings": config.tied,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    layers = range(config.depth)
    tensor_rules = [
        same("embed/embedding", "transformer.wte.weight"),
        same("positions/embedding", "transformer.wpe.weight"),
    ]
    for leaf, name in (("kernel", "weight"), ("bias", "bias")):
        projections = [f"layers/attention/{part}/{leaf}" for part in ("query", "key", "value")]
        tensor_rules.append(
            fused(
                projections,
                f"transformer.h.{{layer}}.attn.c_attn.{name}",
                axis=-1,
                transposed=False,
                layers=layers,
            )
        )
        tensor_rules += [
            same(f"layers/{ours}/{leaf}", f"transformer.h.{{layer}}.{theirs}.{name}", layers)
            for ours, theirs in (
                ("attention/out", "attn.c_proj"),
                ("feed_forward/up", "mlp.c_fc"),
                ("feed_forward/down", "mlp.c_proj"),
            )
        ]
    for leaf, name in (("scale", "weight"), ("bias", "bias")):
        tensor_rules += [
            same(f"layers/attention_norm/{leaf}", f"transformer.h.{{layer}}.ln_1.{name}", layers),
            same(
                f"layers/feed_forward_norm/{leaf}", f"transformer.h.{{layer}}.ln_2.{name}", layers
            ),
            same(f"norm/{leaf}", f"transformer.ln_f.{name}"),
        ]
    return [*tensor_rules, *own_head(config)]


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="transformer.",
    bare=("GPT2Model",),
    ignored=IGNORED,
)
