"""RecurrentGemma: one model, here and in transformers."""

import pytest

from lm_lab.interop import recurrent_gemma
from lm_lab.interop.fields import config_of
from lm_lab.models.state_space import Config
from lm_lab.types import UserError
from tests.interop import parity

SHAPES = {
    "two layers left over": {
        "hidden_size": 32,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "intermediate_size": 48,
        "vocab_size": 40,
        "attention_window_size": 5,
    },
    "untied": {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 23,
        "block_types": ["recurrent", "attention"],
        "attention_window_size": 16,
        "conv1d_width": 3,
        "logits_soft_cap": 5.0,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 100.0,
            "partial_rotary_factor": 0.75,
        },
    },
}


class Remembering:
    """The reference with access to the cache that transformers makes at every call and does not
    return.
    """

    def __init__(self, model, cache):
        self.model, self.cache, self.config = model, cache, model.config

    def __call__(self, **given):
        return self.model(**given, past_key_values=self.cache)


# Padding on the left is not compared: transformers' convolution sees it.
@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_model_of_transformers(shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.RecurrentGemmaConfig(
        **SHAPES[shape], pad_token_id=None
    )  # whose embedding is never trained
    twin = parity.read(
        parity.randomised(lambda: transformers.RecurrentGemmaForCausalLM(config)), tmp_path
    )
    parity.check_padding(twin, "right")
    cache = transformers.DynamicCache(config=config)
    parity.check_left_context(twin._replace(reference=Remembering(twin.reference, cache)))
    parity.check_gradients(twin)
    parity.check_export(twin, tmp_path)


FOREIGN = {
    "hidden_size": 8,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 16,
}


def test_blocks_come_in_one_pattern():
    def every(kinds):
        return recurrent_gemma.read_config({**FOREIGN, "block_types": kinds})["attention_every"]

    assert [every(kinds) for kinds in (None, ["recurrent"], ["recurrent", "attention"])] == [
        3,
        None,
        2,
    ]
    assert every(["recurrent"] * 5 + ["attention"]) is None  # the sixth layer is not there
    for kinds in (["attention", "recurrent"], ["recurrent", "convolution"]):
        with pytest.raises(UserError, match="block_types"):
            every(kinds)


@pytest.mark.parametrize(
    "change", [{"hidden_activation": "relu"}, {"attention_bias": True}, {"hidden_size": None}]
)
def test_what_is_not_supported_is_named(change):
    with pytest.raises(UserError, match=next(iter(change))):
        recurrent_gemma.read_config({**FOREIGN, **change})


@pytest.mark.parametrize(
    "change", [{"embedding_scaled": False}, {"norm": "layer"}, {"logit_softcap": None}]
)
def test_what_it_has_not_is_not_written(change):
    usual = {**recurrent_gemma.ALWAYS, "logit_softcap": 30.0, "vocab": 8}
    assert recurrent_gemma.write_config(config_of(Config, usual, "config.model"))["vocab_size"] == 8
    with pytest.raises(UserError, match=f"model.{next(iter(change))}"):
        recurrent_gemma.write_config(config_of(Config, {**usual, **change}, "config.model"))
