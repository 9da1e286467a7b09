"""BART, mBART and MarianMT: one model each, here and in transformers."""

import numpy as np
import pytest

from lm_lab.interop import bart, folder, marian, tensors
from lm_lab.types import UserError
from tests import tiny
from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")


def shape(width, layers, heads, inner, vocab, length, **others):
    both = {"attention_heads": heads, "ffn_dim": inner}
    sides = {
        f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()
    }
    depths = dict(zip(("encoder_layers", "decoder_layers"), layers))
    nothing = dict.fromkeys(("bos_token_id", "eos_token_id", "forced_eos_token_id"))
    sizes = {"d_model": width, "vocab_size": vocab, "max_position_embeddings": length}
    nothing |= {"pad_token_id": None, "decoder_start_token_id": 1}
    return {**sides, **depths, **nothing, **sizes, **others}


SHAPES = {
    "wide": shape(32, (2, 2), 4, 48, 40, 16),
    "deep": shape(12, (1, 3), 2, 20, 23, 11, activation_function="relu", scale_embedding=True),
}


def randomised(name, config):
    """Whose offset of the logits is random, too; of positions, what is computed, or not used, is as
    it was.
    """
    reference = parity.randomised(lambda: getattr(transformers, name)(config))
    reference.final_logits_bias.normal_()
    for side in (reference.model.encoder, reference.model.decoder):
        if not name.startswith("Marian"):
            side.embed_positions.weight.data[: bart.UNUSED] = 0  # as we write them
        else:
            side.embed_positions.weight.data = side.embed_positions.create_weight()
    return reference


def check(twin, place):
    reached = {
        "context, right padding": parity.check_context_padding(twin, "right"),
        "right padding": parity.check_padding(twin, "right", positions=False),
        "left context": parity.check_left_context(twin),
    }
    parity.check_export(twin, place)
    # A buffer has no gradient in PyTorch until it is a parameter.
    offset = twin.reference.final_logits_bias
    del twin.reference.final_logits_bias
    twin.reference.final_logits_bias = torch.nn.Parameter(offset)
    reached["gradients and logits"] = parity.check_gradients(twin)
    print(reached)


@pytest.mark.parametrize("name", SHAPES)
def test_bart_is_the_model_of_transformers(name, tmp_path):
    config = transformers.BartConfig(**SHAPES[name])
    check(parity.read(randomised("BartForConditionalGeneration", config), tmp_path), tmp_path)


@pytest.mark.parametrize("name", SHAPES)
def test_mbart_is_the_model_of_transformers(name, tmp_path):
    config = transformers.MBartConfig(**SHAPES[name])
    twin = parity.read(randomised("MBartForConditionalGeneration", config), tmp_path)
    if name == "wide":
        check(twin, tmp_path)
    else:
        print(parity.check_logits(twin))
        parity.check_export(twin, tmp_path)


@pytest.mark.parametrize("name", SHAPES)
def test_marian_is_the_model_of_transformers(name, tmp_path):
    config = transformers.MarianConfig(
        **SHAPES[name] | {"activation_function": "swish" if name == "wide" else "relu"}
    )
    check(parity.read(randomised("MarianMTModel", config), tmp_path), tmp_path)


def test_a_model_without_its_head_is_read_with_no_offset(tmp_path):
    whole = randomised("BartForConditionalGeneration", transformers.BartConfig(**SHAPES["deep"]))
    twin = parity.read(whole, tmp_path)
    with parity.quiet():
        whole.model.save_pretrained(tmp_path / "bare")
    family, config, params = folder.load(tmp_path / "bare")
    assert (family, config) == (twin.family, twin.config)
    assert tiny.same_bits(params | {"head": twin.params["head"]}, twin.params)
    assert not params["head"]["bias"].any()


def test_a_copy_of_the_embedding_that_is_none_is_refused(tmp_path):
    twin = parity.read(
        randomised("BartForConditionalGeneration", transformers.BartConfig(**SHAPES["deep"])),
        tmp_path,
    )
    file = twin.folder / "model.safetensors"
    found = {name: np.array(tensor) for name, tensor in tensors.read(file).items()}
    tensors.write(file, found | {"lm_head.weight": found["model.shared.weight"] + 1})
    with pytest.raises(
        UserError, match=r"tensor lm_head.weight is not model.shared.weight, and BartForCondit"
    ):
        folder.load(twin.folder)


def test_sides_that_differ_cannot_be_read():
    with pytest.raises(UserError, match="decoder_ffn_dim 20 is not supported; only 48 is"):
        bart.read_config(SHAPES["wide"] | {"decoder_ffn_dim": 20})
    with pytest.raises(UserError, match="share_encoder_decoder_embeddings False is not supported"):
        marian.read_config(SHAPES["wide"] | {"share_encoder_decoder_embeddings": False})
