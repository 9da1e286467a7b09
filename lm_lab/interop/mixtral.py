"""Mixtral (2401.04088): Mistral's shape with a mixture of experts, with a tensor for each expert.

The weight of the balance loss belongs to training and is counted differently there, so it is not
carried over.
"""

from typing import Any

import numpy as np

from lm_lab.interop import llama
from lm_lab.interop.decoders import layer_rules
from lm_lab.interop.fields import expect, take
from lm_lab.interop.llama import IGNORED
from lm_lab.interop.mapping import ModelMapping, Rule
from lm_lab.types import UserError

ARCHITECTURES = ("MixtralForCausalLM",)
NAMES = {"gate": "w1", "down": "w2", "up": "w3"}


def read_config(foreign: dict[str, Any]) -> dict[str, Any]:
    """Our decoder's settings. Raises UserError naming a field that is missing or unsupported."""
    expect(foreign, {"router_jitter_noise": 0.0})
    experts, chosen = (
        take(foreign, "num_local_experts", int, 8),
        take(foreign, "num_experts_per_tok", int, 2),
    )
    if chosen == 1 and experts > 1:
        raise UserError(
            "num_experts_per_tok 1 is not supported: there the gate of one expert is 1, here its "
            "chance"
        )
    return llama.read_shared({"rope_theta": 1e6, "rms_norm_eps": 1e-5} | foreign) | {
        "bias": "none",
        "window": take(foreign, "sliding_window", int | None, None),
        "feed_forward.name": "experts",
        "feed_forward.count": experts,
        "feed_forward.per_token": chosen,
    }


def write_config(config: Any) -> dict[str, Any]:
    """A complete config.json. Raises UserError naming a setting that Mixtral does not have."""
    required = {"feed_forward.name": "experts", "feed_forward.capacity_factor": None}
    shared = llama.write_shared(config, "Mixtral", required, written=("window",))
    if config.experts_per_token == 1 and config.feed_forward.count > 1:
        raise UserError(
            "model.feed_forward.per_token 1 cannot be written as Mixtral, where its gate is 1"
        )
    named = {"architectures": list(ARCHITECTURES), "model_type": "mixtral"}
    expert_fields = {
        "num_local_experts": config.feed_forward.count,
        "num_experts_per_tok": config.experts_per_token,
    }
    return named | shared | expert_fields | {"sliding_window": config.window}


def rules(config: Any) -> list[Rule]:
    """The rules of its tensors."""
    products = {**llama.ATTENTION, "experts/router": "block_sparse_moe.gate"}
    experts = [_experts(config, ours, theirs) for ours, theirs in NAMES.items()]
    return [
        *llama.outer_rules(config),
        *layer_rules(config, llama.LAYER, products, llama.NORMS),
        *experts,
    ]


def _experts(config: Any, ours: str, theirs: str) -> Rule:
    """One kernel of every expert: [out, in] each there, [E, in, out] here."""
    stem = "model.layers.{layer}.block_sparse_moe.experts"
    return Rule(
        (f"layers/experts/{ours}/kernel",),
        tuple(f"{stem}.{expert}.{theirs}.weight" for expert in range(config.feed_forward.count)),
        lambda *kernels: (np.stack([kernel.T for kernel in kernels]),),
        lambda kernels: tuple(kernel.T for kernel in kernels),
        tuple(range(config.depth)),
    )


MAPPING = ModelMapping(
    architectures=ARCHITECTURES,
    family="decoder",
    read_config=read_config,
    write_config=write_config,
    rules=rules,
    prefix="model.",
    ignored=IGNORED,
)
