"""T5 and mT5: one model each, here and in transformers."""

import pytest

from lm_lab import schema
from lm_lab.interop import folder, t5
from lm_lab.interop.fields import config_of
from lm_lab.models import encoder_decoder
from lm_lab.types import UserError
from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SHAPES = {
    "v1.0": {
        "d_model": 32,
        "num_layers": 2,
        "num_heads": 4,
        "d_kv": 8,
        "d_ff": 48,
        "vocab_size": 40,
    },
    "v1.1": {
        "d_model": 12,
        "num_layers": 1,
        "num_decoder_layers": 3,
        "num_heads": 2,
        "d_kv": 5,
        "d_ff": 20,
        "vocab_size": 23,
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 7,
        "tie_word_embeddings": False,
    },
}


MT5 = {  # of two shapes: of both sides alike, and not
    "wide": {
        "d_model": 32,
        "num_layers": 2,
        "num_heads": 4,
        "d_kv": 8,
        "d_ff": 48,
        "vocab_size": 40,
    },
    "deep": SHAPES["v1.1"] | {"d_kv": 6, "feed_forward_proj": "relu"},
}


def reference(shape, kind="T5"):
    sizes = SHAPES[shape] if kind == "T5" else MT5[shape]
    config = getattr(transformers, f"{kind}Config")(
        **sizes, pad_token_id=None, decoder_start_token_id=1
    )
    made = parity.randomised(
        lambda: getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    )
    for name, parameter in made.named_parameters():
        if name.endswith(
            ".q.weight"
        ):  # scores are not scaled, and are to be of order 1 all the same
            parameter.data *= config.d_kv**-0.5
    if (
        shape == "v1.1" or kind == "MT5"
    ):  # whose head transformers would make the embedding, were it not for the checkpoint
        made.lm_head.weight = torch.nn.Parameter(made.lm_head.weight.detach().flip(0).clone())
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_model_of_transformers(shape, tmp_path):
    twin = parity.read(reference(shape), tmp_path)
    assert ("head" in twin.params) == (shape == "v1.1")
    reached = {
        "context, right padding": parity.check_context_padding(twin, "right"),
        "context, left padding": parity.check_context_padding(twin, "left"),
        "left padding": parity.check_padding(twin, "left", positions=False),
        "left context": parity.check_left_context(twin),
        "gradients and logits": parity.check_gradients(twin),
    }
    parity.check_export(twin, tmp_path)
    print(reached)


@pytest.mark.parametrize("shape", MT5)
def test_mt5_is_the_model_of_transformers(shape, tmp_path):
    twin = parity.read(reference(shape, "MT5"), tmp_path)
    print(parity.check_gradients(twin))
    parity.check_export(twin, tmp_path)


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"positions.name": "sinusoidal"},
            "model.positions.name 'sinusoidal' cannot be written as T5",
        ),
        ({"activation": "silu"}, "model.activation 'silu' cannot be written as T5"),
        ({"bias": True}, "model.bias True cannot be written as T5"),
    ],
)
def test_what_t5_has_not_cannot_be_written(changes, words, tmp_path):
    sizes = {"vocab": 9, "length": 8, "width": 8, "heads": 2, "depth": 1}
    config = config_of(encoder_decoder.Config, sizes | changes, "config.model")
    with pytest.raises(UserError, match=words):
        folder.save(tmp_path / "out", "encoder_decoder", config, {}, "T5ForConditionalGeneration")
    assert not (tmp_path / "out").exists()


def test_what_we_have_not_cannot_be_read():
    with pytest.raises(
        UserError, match=r"T5.positions.reach must be at most 1048576"
    ):  # a table of so many entries
        schema.build(encoder_decoder.Config, {"positions": {"reach": 2**20 + 1}}, "T5")
    with pytest.raises(UserError, match="feed_forward_proj 'tanh' is not supported"):
        t5.read_config({**SHAPES["v1.0"], "feed_forward_proj": "tanh"})


@pytest.mark.parametrize("changes", [{"tied": True}, {"head_scaling": True}], ids=str)
def test_a_head_may_be_the_embedding_without_scaling_and_the_other_way(changes, tmp_path):
    fresh = reference("v1.1")
    if "tied" in changes:  # as transformers makes a fresh v1.1
        fresh.lm_head.weight = fresh.shared.weight
    fresh.config.scale_decoder_outputs = "head_scaling" in changes
    twin = parity.read(fresh, tmp_path)
    assert (twin.config.tied, twin.config.head_scaling) == (
        "tied" in changes,
        "head_scaling" in changes,
    )
    parity.check_logits(twin)
    parity.check_export(twin, tmp_path)
