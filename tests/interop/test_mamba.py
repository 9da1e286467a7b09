"""Mamba: one model, here and in transformers."""

import pytest

from lm_lab.interop import mamba
from lm_lab.interop.fields import config_of
from lm_lab.models.state_space import Config
from lm_lab.types import UserError
from tests.interop import parity

SHAPES = {
    "wide": {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 40, "state_size": 5},
    "deep": {
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "vocab_size": 23,
        "conv_kernel": 3,
        "expand": 3,
        "time_step_rank": 3,
        "tie_word_embeddings": False,
    },
    "with biases": {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "vocab_size": 16,
        "use_bias": True,
        "use_conv_bias": False,
    },
}


@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_model_of_transformers(shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(**SHAPES[shape])
    twin = parity.read(parity.randomised(lambda: transformers.MambaForCausalLM(config)), tmp_path)
    parity.check_left_context(twin)
    parity.check_gradients(twin)
    parity.check_export(twin, tmp_path)
    if not config.use_bias:  # transformers' convolution sees what the bias makes of padding
        parity.check_padding(twin, "left", positions=False)
        parity.check_padding(twin, "right", positions=False)


@pytest.mark.parametrize(
    "change, line",
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not"),
        ({"time_step_rank": "low"}, "time_step_rank 'low' is neither"),
    ],
)
def test_what_is_not_supported_is_named(change, line):
    with pytest.raises(UserError, match=line):
        mamba.read_config({"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 16, **change})


@pytest.mark.parametrize(
    "change", [{"block": "rg_lru"}, {"attention_every": 2}, {"recurrent_width": 100}]
)
def test_what_mamba_has_not_is_not_written(change):
    with pytest.raises(UserError, match=f"model.{next(iter(change))}"):
        mamba.write_config(config_of(Config, {"vocab": 8, **change}, "config.model"))
