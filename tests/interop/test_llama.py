"""LLaMA, Mistral and Qwen2: one model, here and in transformers."""

import json

import pytest

from lm_lab.interop import folder, llama, qwen2
from lm_lab.types import UserError
from tests import tiny
from tests.interop import parity

WIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}
DEEP = {
    "hidden_size": 18,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "intermediate_size": 30,
    "vocab_size": 23,
    "max_position_embeddings": 16,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 2.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}
MODELS = {
    "llama, llama3 scaling": ("Llama", WIDE | {"rope_parameters": LLAMA3}),
    "llama, all biases": (
        "Llama",
        DEEP | {"attention_bias": True, "mlp_bias": True, "rope_parameters": LINEAR},
    ),
    "llama, biases of attention": (
        "Llama",
        WIDE | {"attention_bias": True, "hidden_act": "gelu_pytorch_tanh"},
    ),
    "mistral, window": ("Mistral", WIDE | {"sliding_window": 4}),
    "mistral, no window": ("Mistral", DEEP | {"sliding_window": None}),
    "qwen2, grouped": ("Qwen2", WIDE),
    "qwen2, window": (
        "Qwen2",
        DEEP | {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 0},
    ),
}

ALIKE = (
    "llama, biases of attention",
    "mistral, no window",
)  # to what is checked in full, but for their config


@pytest.mark.torch
@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_model_of_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    kind, shape = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**shape, bos_token_id=None, eos_token_id=None)
    make = getattr(transformers, f"{kind}ForCausalLM")
    twin = parity.read(parity.randomised(lambda: make(config)), tmp_path)
    if name in ALIKE:
        parity.check_logits(twin)
        parity.check_export(twin, tmp_path)
    else:
        parity.check_all(twin, tmp_path)


ROTARY = {"positions.name": "rotary", "positions.base": 500.0}


@pytest.mark.parametrize(
    "foreign, ours",
    [
        ({"rope_theta": 500.0}, {}),
        ({"rope_theta": 500, "rope_scaling": None}, {}),
        ({"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, {}),
        (
            {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2}},
            {"positions.scaling.name": "linear", "positions.scaling.factor": 2.0},
        ),
        (
            {"rope_parameters": LINEAR},
            {"positions.scaling.name": "linear", "positions.scaling.factor": 2.0},
        ),
    ],
)
def test_positions_are_read_in_the_form_of_every_release(foreign, ours):
    assert llama.read_rotary(foreign) == ROTARY | ours


@pytest.mark.parametrize(
    "module, changes, message",
    [
        (llama, {"hidden_size": None}, "hidden_size must be a whole number, not None"),
        (llama, {"hidden_act": "relu"}, "hidden_act 'relu' is not supported; known: silu"),
        (llama, {"mlp_bias": True}, "mlp_bias True is not supported without attention_bias"),
        (
            llama,
            {"rope_scaling": {"type": "yarn", "factor": 2}},
            "rope_scaling.rope_type 'yarn' is not supported",
        ),
        (llama, {"rope_scaling": {"type": "linear"}}, "rope_scaling.factor is missing"),
        (llama, {"rope_scaling": 3}, "rope_scaling must be an object, not 3"),
        (
            llama,
            {"partial_rotary_factor": 0.5},
            "partial_rotary_factor 0.5 is not supported; only 1.0 is",
        ),
        (
            qwen2,
            {"use_sliding_window": True, "max_window_layers": 1},
            "a window in some layers only is not supported",
        ),
    ],
)
def test_an_option_that_is_not_supported_is_named(module, changes, message):
    with pytest.raises(UserError, match=message):
        module.read_config(WIDE | changes)


SHAPES = {  # what a decoder of ours is written as where nobody names an architecture
    "LlamaForCausalLM": {},
    "MistralForCausalLM": {"window": 4},
    "Qwen2ForCausalLM": {"bias": "qkv"},
    "GPT2LMHeadModel": {
        "norm": "layer",
        "norm_bias": True,
        "positions": "learned",
        "bias": "all",
        "activation": "gelu",
        "norm_epsilon": 1e-5,
    },
}


@pytest.mark.parametrize("architecture", SHAPES)
def test_a_decoder_finds_its_architecture_and_comes_back(architecture, tmp_path):
    model = tiny.model(**{"activation": "swiglu"} | SHAPES[architecture])
    params = tiny.jax.device_get(tiny.params_of(model, tiny.Inputs(tiny.tokens())))
    assert folder.save(tmp_path / "out", "decoder", model.cfg, params) == architecture
    family, _, read = folder.load(tmp_path / "out")
    assert (family, json.loads((tmp_path / "out/config.json").read_text())["vocab_size"]) == (
        "decoder",
        tiny.VOCAB,
    )
    assert tiny.same_bits(read, params)


def test_a_width_that_heads_do_not_divide_is_a_mistrals(tmp_path):
    model = tiny.model(activation="swiglu", width=20, heads=3, head_dim=6)
    params = tiny.jax.device_get(tiny.params_of(model, tiny.Inputs(tiny.tokens())))
    with pytest.raises(
        UserError,
        match=r"model.width 20 cannot be written as LLaMA, .*; with model.bias none it is a",
    ):
        folder.save(tmp_path / "out", "decoder", model.cfg, params, "LlamaForCausalLM")
    assert folder.save(tmp_path / "out", "decoder", model.cfg, params) == "MistralForCausalLM"


def test_a_decoder_that_no_architecture_expresses_is_refused(tmp_path):
    model = tiny.model(parallel=True)
    params = tiny.params_of(model, tiny.Inputs(tiny.tokens()))
    with pytest.raises(
        UserError, match=r"nearest, .*: LlamaForCausalLM by --config.model.parallel=False --config"
    ):
        folder.save(tmp_path / "out", "decoder", model.cfg, params)
    with pytest.raises(
        UserError, match=r"model.parallel True cannot be written as LLaMA, which has False"
    ):
        folder.save(tmp_path / "out", "decoder", model.cfg, params, "LlamaForCausalLM")
    with pytest.raises(
        UserError, match=r"model.norm 'rms' cannot be written as GPT-2, which has 'layer'; nearest"
    ):
        folder.save(tmp_path / "out", "decoder", model.cfg, params, "GPT2LMHeadModel")
    assert not list(tmp_path.iterdir())
