"""Decoders other than GPT-2 and LLaMA's nearest: one model each, here and in transformers, at two unlike shapes."""

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

MODELS = {
    "Qwen3": (
        GROUPED | {"head_dim": 12},
        SHARED | {"head_dim": 6, "attention_bias": True, "use_sliding_window": True, "sliding_window": 4}
        | {"max_window_layers": 0, "tie_word_embeddings": True},
    ),
    "OPT": (
        WIDE | {"ffn_dim": 48},
        DEEP | {"ffn_dim": 20, "activation_function": "gelu", "enable_bias": False, "tie_word_embeddings": False},
    ),
}  # fmt: skip


@pytest.fixture
def made(request, tmp_path):
    """A twin of (name, shape), with random parameters."""
    transformers = pytest.importorskip("transformers")
    name, shape = request.param
    config = getattr(transformers, f"{name}Config")(**{**dict.fromkeys(SPECIALS), **shape})
    reference = parity.randomised(lambda: getattr(transformers, f"{name}ForCausalLM")(config))
    if name == "OPT":  # as we write what stands for no position
        reference.model.decoder.embed_positions.weight.data[: opt.UNUSED] = 0
    return parity.read(reference, tmp_path)


SPECIALS = ("bos_token_id", "eos_token_id", "pad_token_id")
FIRST, SECOND = ([(name, shapes[index]) for name, shapes in MODELS.items()] for index in (0, 1))


@pytest.mark.torch
@pytest.mark.parametrize("made", FIRST, ids=MODELS, indirect=True)
def test_it_is_the_model_of_transformers(made, tmp_path):
    print(parity.check_all(made, tmp_path))


@pytest.mark.torch
@pytest.mark.parametrize("made", SECOND, ids=MODELS, indirect=True)
def test_another_shape_is_too(made, tmp_path):
    print(parity.check_logits(made), parity.check_gradients(made))
    parity.check_export(made, tmp_path)


REFUSED = {
    "Qwen3": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "OPT": {"do_layer_norm_before": False},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_we_have_not_cannot_be_read(name):
    module = architectures.find(f"{name}ForCausalLM")
    with pytest.raises(UserError, match=f"{list(REFUSED[name])[-1]}.*not supported|not supported; see max_window"):
        module.read_config(MODELS[name][0] | REFUSED[name])
