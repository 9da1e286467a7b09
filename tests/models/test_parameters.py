"""Paths and shapes of parameters do not move: checkpoints and adapters of earlier releases name
them.
"""

import json
from pathlib import Path

import jax
import pytest

from lm_lab.engine.sharding import unbox
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


@pytest.mark.parametrize("name", CASES)
def test_paths_and_shapes_are_those_of_earlier_releases(name):
    family, settings = CASES[name]
    model = tiny.model(family, **settings)
    inputs = tiny.inputs(family, tiny.tokens())
    params = jax.eval_shape(lambda key: unbox(model.init(key, inputs)["params"]), jax.random.key(0))
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    assert shapes == GOLDEN[name]
