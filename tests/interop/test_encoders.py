"""RoBERTa, DistilBERT and ModernBERT: one model each, here and in transformers, at two unlike
shapes.
"""

import pytest

from lm_lab.interop import modernbert, roberta
from lm_lab.types import UserError
from tests.interop import parity

BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "vocab_size": 40,
}
SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 13,
    "vocab_size": 23,
}
DISTILLED = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 16,
    "vocab_size": 40,
}
TINY = {
    "dim": 12,
    "n_layers": 3,
    "n_heads": 2,
    "hidden_dim": 20,
    "max_position_embeddings": 11,
    "vocab_size": 23,
}
NO_PAD = {"pad_token_id": None}
NO_SPECIALS = dict.fromkeys([f"{name}_token_id" for name in ("pad", "bos", "eos", "cls", "sep")])
FAR, NEAR = "full_attention", "sliding_attention"
BASES = {
    FAR: {"rope_type": "default", "rope_theta": 100.0},
    NEAR: {"rope_type": "default", "rope_theta": 20.0},
}
MODELS = {
    "RoBERTa": ("Roberta", BERT | {"type_vocab_size": 1}),
    "RoBERTa, two kinds": ("Roberta", SMALL | {"type_vocab_size": 2}),
    "DistilBERT": ("DistilBert", DISTILLED | NO_PAD),
    "DistilBERT, untied": (
        "DistilBert",
        TINY | NO_PAD | {"activation": "relu", "tie_word_embeddings": False},
    ),
    "ModernBERT": (
        "ModernBert",
        BERT | NO_SPECIALS | {"num_hidden_layers": 5, "local_attention": 4},
    ),
    "ModernBERT, other layers": (
        "ModernBert",
        SMALL
        | NO_SPECIALS
        | {"layer_types": [FAR, NEAR, FAR], "local_attention": 2, "rope_parameters": BASES}
        | {"norm_bias": True, "tie_word_embeddings": False},
    ),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_model_of_transformers(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    kind, shape = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**shape)
    reference = parity.randomised(lambda: getattr(transformers, f"{kind}ForMaskedLM")(config))
    if kind == "Roberta":
        table = reference.roberta.embeddings.position_embeddings.weight.data
        table[: roberta.UNUSED] = 0  # as we write them
    twin = parity.read(reference, tmp_path)
    first = roberta.UNUSED if kind == "Roberta" else 0
    reached = {"gradients and logits": parity.check_gradients(twin)}
    for side in ("left", "right"):
        reached[side] = parity.check_padding(twin, side, first=first)
    parity.check_export(twin, tmp_path)
    print(reached)


@pytest.mark.torch
def test_an_untied_head_stays_untied(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.RobertaConfig(**SMALL, tie_word_embeddings=False)
    reference = parity.randomised(lambda: transformers.RobertaForMaskedLM(config))
    reference.roberta.embeddings.position_embeddings.weight.data[: roberta.UNUSED] = 0
    reference.lm_head.bias.data = (
        reference.lm_head.decoder.bias.data.clone()
    )  # which an untied head does not use
    twin = parity.read(reference, tmp_path)
    parity.check_logits(twin)
    parity.check_export(twin, tmp_path)


def test_what_we_have_not_cannot_be_read():
    with pytest.raises(UserError, match="hidden_act 'relu' is not supported; only 'gelu' is"):
        roberta.read_config(BERT | {"hidden_act": "relu"})
    with pytest.raises(UserError, match="pad_token_id 0 is not supported; only 1 is"):
        roberta.read_config(BERT | {"pad_token_id": 0})
    with pytest.raises(UserError, match="layer_types is not supported"):
        modernbert.read_config(BERT | {"layer_types": [NEAR, FAR]})
