"""Paths and shapes of parameters do not move: checkpoints and adapters of earlier releases name
them. Nor does what follows from their roles: what decays, the groups, and what LoRA adapts.
"""

import json
from functools import cache
from pathlib import Path

import jax
import pytest

from lm_lab.adapters import lora
from lm_lab.compute.parameters import GROUPS, by_group
from lm_lab.engine.sharding import unbox
from lm_lab.nn.pooling import Pooled
from lm_lab.nn.roles import part_of, roles
from lm_lab.nn.trees import flatten
from lm_lab.optimizers import decay_mask
from tests import tiny

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/parameters.json").read_text())
CASES: dict[str, tuple[str, dict]] = {
    "decoder": ("decoder", {}),
    "decoder_gpt2": (
        "decoder",
        {
            "positions": {"name": "learned"},
            "norm": "layer",
            "norm_bias": True,
            "bias": "all",
            "tied": True,
            "head_bias": True,
            "dropout": 0.2,
        },
    ),
    "decoder_alibi": ("decoder", {"positions": {"name": "alibi"}, "scan": False, "bias": "qkv"}),
    "decoder_relative": ("decoder", {"positions": {"name": "relative"}, "head_bias": True}),
    "decoder_sinusoidal": (
        "decoder",
        {"positions": {"name": "sinusoidal"}, "feed_forward_dim": 24, "activation": "geglu"},
    ),
    "decoder_experts": (
        "decoder",
        {
            "feed_forward": {"name": "experts", "count": 4, "capacity_factor": 1.5},
            "activation": "swiglu",
        },
    ),
    "decoder_gemma": (
        "decoder",
        {
            "depth": 5,
            "heads": 4,
            "kv_heads": 1,
            "head_dim": 8,
            "window": 5,
            "global_every": 2,
            "positions": {"window_base": 100.0},
            "qk_norm": "rms",
            "qk_norm_over": "head",
            "norm_position": "both",
            "attention_softcap": 20.0,
            "logit_softcap": 10.0,
            "attention_scale": 0.3,
            "embedding_scaling": True,
            "tied": True,
            "activation": "geglu",
        },
    ),
    "decoder_olmo": (
        "decoder",
        {"qk_norm": "rms", "qk_norm_over": "heads", "norm_position": "branch", "kv_heads": 1},
    ),
    "decoder_neox": (
        "decoder",
        {
            "parallel": True,
            "parallel_norms": True,
            "norm": "layer",
            "norm_bias": True,
            "bias": "all",
            "positions": {"share": 0.5},
            "dropout": 0.1,
        },
    ),
    "decoder_llama3": (
        "decoder",
        {
            "parallel": True,
            "positions": {"scaling": {"name": "llama3", "factor": 8.0, "length": 64}},
            "bias": "attention",
        },
    ),
    "encoder": ("encoder", {"kinds": 2, "dropout": 0.1}),
    "encoder_modernbert": (
        "encoder",
        {
            "depth": 6,
            "positions": {"name": "rotary", "window_base": 100.0},
            "norm_position": "pre",
            "norm_bias": False,
            "window": 4,
            "global_every": 3,
            "bare_first": True,
            "tied": False,
            "bias": False,
            "activation": "geglu_exact",
        },
    ),
    "encoder_none": (
        "encoder",
        {
            "positions": {"name": "none"},
            "embedding_norm": False,
            "scan": False,
            "feed_forward": {"name": "experts", "count": 4},
        },
    ),
    "encoder_decoder": (
        "encoder_decoder",
        {"dropout": 0.1, "positions": {"buckets": 8, "reach": 9}},
    ),
    "encoder_decoder_2017": (
        "encoder_decoder",
        {
            "norm": "layer",
            "norm_bias": True,
            "norm_position": "post",
            "positions": {"name": "sinusoidal"},
            "bias": True,
            "score_scaling": True,
            "embedding_scaling": True,
            "tied": True,
            "dropout": 0.1,
        },
    ),
    "encoder_decoder_bart": (
        "encoder_decoder",
        {
            "norm": "layer",
            "norm_bias": True,
            "norm_position": "post",
            "positions": {"name": "learned"},
            "embedding_norm": True,
            "activation": "gelu_exact",
            "bias": True,
            "score_scaling": True,
            "tied": True,
            "head_bias": True,
            "head_dim": 12,
            "encoder_depth": 3,
        },
    ),
    "encoder_decoder_experts": (
        "encoder_decoder",
        {"feed_forward": {"name": "experts", "count": 4}, "tied": True, "head_scaling": True},
    ),
    "mamba": ("state_space", {"dropout": 0.1}),
    "mamba_hybrid": (
        "state_space",
        {
            "depth": 5,
            "attention_every": 2,
            "window": 5,
            "block": {"state": 4, "step_rank": 3},
            "feed_forward_dim": 24,
            "heads": 2,
        },
    ),
    "griffin": (
        "state_space",
        {
            "block": {"name": "rg_lru"},
            "depth": 5,
            "attention_every": 2,
            "window": 5,
            "bias": True,
            "conv_bias": False,
            "embedding_scaled": True,
            "tied": True,
            "logit_softcap": 10.0,
        },
    ),
    "rnn": ("rnn", {"dropout": 0.1}),
    "rnn_gru_bidirectional": (
        "rnn",
        {"cell": "gru", "bidirectional": True, "residual": False, "tied": True},
    ),
    "rnn_elman": ("rnn", {"cell": "elman_relu", "bias": False, "norm": None}),
    "word2vec": ("word2vec", {}),
}


@cache
def boxed(name):
    """The abstract parameters of a case, boxed."""
    family, settings = CASES[name]
    inputs = tiny.inputs(family, tiny.tokens())
    return abstract(tiny.model(family, **settings), inputs)


def abstract(model, inputs):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), inputs)["params"])


@pytest.mark.parametrize("name", CASES)
def test_paths_and_shapes_are_those_of_earlier_releases(name):
    shapes = {path: list(leaf.shape) for path, leaf in flatten(unbox(boxed(name))).items()}
    assert shapes == GOLDEN[name]


DECAYED = {"kernel", "embedding", "down_kernel", "up_kernel"}
"""Names on the paths of what earlier releases let decay."""


@pytest.mark.parametrize("name", CASES)
def test_roles_decide_what_names_decided_in_earlier_releases(name):
    check_roles(boxed(name))


def test_the_head_of_a_text_has_its_role():
    model, inputs = tiny.model(), tiny.inputs("decoder", tiny.tokens())
    check_roles(abstract(Pooled(model, 3, "first_tanh"), inputs))


def check_roles(params):
    paths = {path: path.split("/") for path in flatten(params)}
    assert flatten(decay_mask(params)) == {
        path: not DECAYED.isdisjoint(names) for path, names in paths.items()
    }
    found = flatten(roles(params))
    assert {path: role.part for path, role in found.items()} == {
        path: part_of(names) for path, names in paths.items()
    }
    assert {path for path, role in found.items() if role.kind == "expert_kernels"} == {
        path for path, names in paths.items() if "experts" in names and "router" not in names
    }
    kernels = {path for path, names in paths.items() if names[-1] == "kernel"}
    assert {path for path, role in found.items() if role.is_kernel} == kernels
    sizes = {path: leaf.size for path, leaf in flatten(unbox(params)).items()}
    counted = by_group(params)
    assert counted["total"] == sum(sizes.values()) == sum(counted[group] for group in GROUPS)
    if kernels:
        check_adapters(params, kernels)


def check_adapters(params, kernels):
    """LoRA adapts all kernels; its two factors decay, the lengths of DoRA do not."""
    config = lora.Config(dora=True, targets=("*",))
    adapters = jax.eval_shape(lambda params: lora.init(jax.random.key(0), config, params), params)
    mask = flatten(decay_mask(adapters))
    assert {path.rpartition("/")[0] + "/kernel" for path in mask} == kernels
    assert mask == {path: path.rpartition("/")[2] in DECAYED for path in mask}
