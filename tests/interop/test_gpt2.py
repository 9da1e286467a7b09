"""GPT-2: one model, here and in transformers."""

import pytest

from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")

SHAPES = {
    "wide": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 16,
        "vocab_size": 40,
        "n_inner": 48,
    },
    "deep": {
        "n_embd": 12,
        "n_layer": 4,
        "n_head": 2,
        "n_positions": 11,
        "vocab_size": 23,
        "activation_function": "gelu",
        "tie_word_embeddings": False,
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_model_of_transformers(shape, tmp_path):
    config = transformers.GPT2Config(**SHAPES[shape], bos_token_id=None, eos_token_id=None)
    twin = parity.read(parity.randomised(lambda: transformers.GPT2LMHeadModel(config)), tmp_path)
    parity.check_all(twin, tmp_path)
