"""BERT: one model, here and in transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.interop import bert, folder, mapping
from lm_lab.interop.fields import config_of
from lm_lab.models import encoder
from lm_lab.nn.pooling import Pooled
from lm_lab.nn.trees import flatten
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

SHAPES = {
    "wide": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 16,
        "vocab_size": 40,
    },
    "deep": {
        "hidden_size": 12,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "max_position_embeddings": 11,
        "vocab_size": 23,
        "hidden_act": "gelu_new",
        "type_vocab_size": 3,
    },
}


def foreign(shape, **changes):
    return transformers.BertConfig(**SHAPES[shape] | changes, pad_token_id=None)


def twin_of(shape, place, **changes):
    config = foreign(shape, **changes)
    return parity.read(parity.randomised(lambda: transformers.BertForMaskedLM(config)), place)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_model_of_transformers(shape, tmp_path):
    twin = twin_of(shape, tmp_path)
    reached = {
        "left padding": parity.check_padding(twin, "left"),
        "right padding": parity.check_padding(twin, "right"),
        "gradients and logits": parity.check_gradients(twin),
    }
    text = parity.tokens(twin)
    kinds = np.random.default_rng(0).integers(0, twin.config.kinds, text.shape)
    ours = twin.logits(Inputs(jnp.asarray(text), kinds=jnp.asarray(kinds)))
    theirs = parity.reference_logits(twin, text, token_type_ids=kinds)
    reached["kinds"] = parity.difference(ours, theirs)
    assert reached["kinds"] < parity.LOGITS
    assert parity.difference(theirs, parity.reference_logits(twin, text)) > 0.1
    parity.check_export(twin, tmp_path)
    print(reached)


def test_an_untied_head_stays_untied(tmp_path):
    twin = twin_of("wide", tmp_path, tie_word_embeddings=False)
    assert "kernel" in twin.params["head"]
    parity.check_logits(twin)
    # The offset that an untied head does not use is written as a copy of the one that it does.
    twin.reference.cls.predictions.bias.data = (
        twin.reference.cls.predictions.decoder.bias.data.clone()
    )
    parity.check_export(twin, tmp_path)


def test_names_of_the_first_checkpoints_are_known(tmp_path):
    twin = twin_of("wide", tmp_path)
    file = twin.folder / "model.safetensors"
    endings = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, tensor in safetensors_numpy.load_file(file).items():
        ending = next((ending for ending in endings if name.endswith(ending)), "")
        old[name.removesuffix(ending) + endings.get(ending, "")] = tensor
    # What stood beside the head, too.
    old |= {
        "cls.seq_relationship.weight": np.zeros((2, 32), np.float32),
        "bert.pooler.dense.bias": np.zeros(32, "f4"),
    }
    safetensors_numpy.save_file(old, file)
    assert tiny.same_bits(folder.load(twin.folder)[2], twin.params)


def test_a_pooled_encoder_is_the_classifier_of_transformers(tmp_path):
    config = foreign("wide", num_labels=3)
    reference = parity.randomised(lambda: transformers.BertForSequenceClassification(config))
    tensors = {name: tensor.detach().numpy() for name, tensor in reference.state_dict().items()}
    ours = config_of(encoder.Config, bert.read_config(config.to_dict()), "BERT")
    pooled = Pooled(encoder.Model(ours), 3, "first_tanh")
    text = np.random.default_rng(1).integers(0, ours.vocab, (parity.ROWS, parity.LENGTH))
    real = np.arange(parity.LENGTH) < np.asarray(parity.RAGGED)[:, None]
    inputs = Inputs(jnp.asarray(text), jnp.asarray(real, jnp.int32))
    abstract = jax.eval_shape(lambda: tiny.params_of(pooled, inputs))
    shapes = {path: leaf.shape for path, leaf in flatten(abstract).items()}
    rules = [
        rule._replace(ours=tuple(f"model/{path}" for path in rule.ours)) for rule in bert.body(ours)
    ]
    for head, theirs in (("pooler", "bert.pooler.dense"), ("head", "classifier")):
        rules.append(mapping.transposed(f"{head}/kernel", f"{theirs}.weight"))
        rules.append(mapping.same(f"{head}/bias", f"{theirs}.bias"))
    params = mapping.to_ours(rules, tensors, shapes=shapes)
    logits = jax.jit(lambda p: pooled.apply({"params": p}, inputs))(params)
    twin = parity.Twin(reference, "encoder", ours, params, "", tmp_path)
    theirs = parity.reference_logits(twin, text, attention_mask=real.astype(int))
    assert float(np.abs(np.asarray(logits)[:, 0] - theirs).max()) < parity.LOGITS


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"norm_position": "pre"}, "model.norm_position 'pre' cannot be written as BERT"),
        ({"kinds": 0}, "model.kinds 0 cannot be written as BERT"),
        ({"activation": "swiglu"}, "model.activation 'swiglu' cannot be written as BERT"),
    ],
)
def test_what_bert_has_not_cannot_be_written(changes, words, tmp_path):
    config = encoder.Config(
        **{"kinds": 2, "vocab": 9, "length": 8, "width": 8, "heads": 2, "depth": 1} | changes
    )
    with pytest.raises(UserError, match=words):
        folder.save(tmp_path / "out", "encoder", config, {}, "BertForMaskedLM")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "field, value", [("position_embedding_type", "relative_key"), ("is_decoder", True)]
)
def test_what_we_have_not_cannot_be_read(field, value):
    with pytest.raises(UserError, match=field):
        bert.read_config({**foreign("wide").to_dict(), field: value})
