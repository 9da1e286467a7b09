"""Decoders other than GPT-2 and LLaMA's nearest: one model each, here and in transformers, at two
unlike shapes.
"""

import pytest

from lm_lab.interop import architectures, opt
from lm_lab.types import UserError
from tests.interop import parity

WIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": 16,
}
DEEP = {
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "vocab_size": 23,
    "max_position_embeddings": 11,
}
GROUPED = WIDE | {"num_key_value_heads": 2, "intermediate_size": 48}
SHARED = DEEP | {"num_key_value_heads": 1, "intermediate_size": 20}

TWO = {
    "full_attention": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
}

MODELS = {
    "Qwen3": (
        GROUPED | {"head_dim": 12},
        SHARED
        | {"head_dim": 6, "attention_bias": True, "use_sliding_window": True, "sliding_window": 4}
        | {"max_window_layers": 0, "tie_word_embeddings": True},
    ),
    "OPT": (
        WIDE | {"ffn_dim": 48},
        DEEP
        | {
            "ffn_dim": 20,
            "activation_function": "gelu",
            "enable_bias": False,
            "tie_word_embeddings": False,
        },
    ),
    "Phi3": (
        GROUPED | {"sliding_window": 5},
        DEEP
        | {"intermediate_size": 20, "tie_word_embeddings": True}
        | {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "partial_rotary_factor": 0.75,
            }
        },
    ),
    "Starcoder2": (
        GROUPED | {"sliding_window": 5},
        SHARED | {"use_bias": False, "hidden_act": "gelu", "tie_word_embeddings": False},
    ),
    "Gemma": (
        GROUPED | {"head_dim": 12},
        SHARED | {"head_dim": 4, "attention_bias": True, "tie_word_embeddings": False},
    ),
    "GPTNeoX": (
        WIDE | {"intermediate_size": 48},
        DEEP
        | {"intermediate_size": 20, "use_parallel_residual": False, "attention_bias": False}
        | {"tie_word_embeddings": True, "hidden_act": "relu"}
        | {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 50.0,
                "partial_rotary_factor": 1.0,
            }
        },
    ),
    "GPTJ": (
        {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "vocab_size": 40,
            "n_positions": 16,
            "rotary_dim": 4,
        },
        {
            "n_embd": 12,
            "n_layer": 3,
            "n_head": 2,
            "vocab_size": 23,
            "n_positions": 11,
            "rotary_dim": 6,
        }
        | {"n_inner": 20, "tie_word_embeddings": True},
    ),
    "Phi": (
        GROUPED,
        SHARED
        | {"tie_word_embeddings": True}
        | {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 50.0,
                "partial_rotary_factor": 0.7,
            }
        },
    ),
    "Gemma2": (
        GROUPED
        | {"head_dim": 12, "query_pre_attn_scalar": 7, "sliding_window": 4, "num_hidden_layers": 3}
        | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        SHARED
        | {"head_dim": 4, "layer_types": ["full_attention"] * 3, "attn_logit_softcapping": None},
    ),
    "Gemma3": (
        GROUPED
        | {"head_dim": 8, "sliding_window": 4, "num_hidden_layers": 5}
        | {
            "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
            "rope_parameters": TWO,
        },
        SHARED | {"head_dim": 6, "sliding_window": 4, "final_logit_softcapping": 3.0},
    ),
    "Olmo2": (
        GROUPED,
        SHARED | {"attention_bias": True, "tie_word_embeddings": True},
    ),
}


@pytest.fixture
def made(request, tmp_path, caplog):
    """A twin of (name, shape), with random parameters; every field that transformers saved is
    understood.
    """
    transformers = pytest.importorskip("transformers")
    name, shape = request.param
    kind = getattr(transformers, f"{name}ForCausalLM")
    config = kind.config_class(**{**dict.fromkeys(SPECIALS), **shape})
    reference = parity.randomised(lambda: kind(config))
    if name == "OPT":  # as we write what stands for no position
        reference.model.decoder.embed_positions.weight.data[: opt.UNUSED] = 0
    twin = parity.read(reference, tmp_path)
    assert not [record for record in caplog.records if record.name.startswith("lm_lab")]
    return twin


SPECIALS = ("bos_token_id", "eos_token_id", "pad_token_id")
FIRST, SECOND = ([(name, shapes[index]) for name, shapes in MODELS.items()] for index in (0, 1))


@pytest.mark.torch
@pytest.mark.parametrize("made", FIRST, ids=MODELS, indirect=True)
def test_it_is_the_model_of_transformers(made, tmp_path):
    print(parity.check_all(made, tmp_path))


@pytest.mark.torch
@pytest.mark.parametrize("made", SECOND, ids=MODELS, indirect=True)
def test_another_shape_is_too(made, tmp_path):
    print(parity.check_gradients(made))
    parity.check_export(made, tmp_path)


REFUSED = {
    "Qwen3": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "OPT": {"do_layer_norm_before": False},
    "Phi3": {
        "rope_parameters": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}
    },
    "Gemma": {"use_bidirectional_attention": True},
    "Phi": {"qk_layernorm": True},
    "Gemma2": {"layer_types": ["full_attention", "sliding_attention"]},
    "Gemma3": {"hidden_activation": "gelu"},
}


SAID = {"Qwen3": "layer_types", "Phi3": "rope_type", "Gemma3": "hidden_act"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_we_have_not_cannot_be_read(name):
    mapping = architectures.find(f"{name}ForCausalLM")
    with pytest.raises(
        UserError, match=f"{SAID.get(name, list(REFUSED[name])[-1])}.* not supported"
    ):
        mapping.read_config(MODELS[name][0] | REFUSED[name])
