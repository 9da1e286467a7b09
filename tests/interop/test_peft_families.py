"""PEFT's adapters on models of other shapes than decoders': PEFT loads what we write, and we load
what PEFT writes.
"""

import warnings

import jax
import numpy as np
import pytest

from lm_lab.adapters import lora
from lm_lab.interop import peft as ours
from lm_lab.types import UserError
from tests import tiny
from tests.interop import parity

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

NO_IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
LOGITS = 1e-4  # absolute, of logits of order 1


def bert():
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    config = transformers.BertConfig(**sizes, vocab_size=23, max_position_embeddings=16, **NO_IDS)
    return parity.randomised(lambda: transformers.BertForMaskedLM(config))


def t5():
    sizes = {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 1,
        "num_heads": 2,
        "vocab_size": 23,
    }
    config = transformers.T5Config(**sizes, relative_attention_num_buckets=8, pad_token_id=None)
    return parity.randomised(lambda: transformers.T5ForConditionalGeneration(config))


def mamba():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 23, "state_size": 3}
    config = transformers.MambaConfig(**sizes, **NO_IDS)
    return parity.randomised(lambda: transformers.MambaForCausalLM(config))


def mixtral():
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    sizes |= {
        "intermediate_size": 8,
        "num_local_experts": 2,
        "vocab_size": 23,
        "max_position_embeddings": 16,
    }
    return parity.randomised(
        lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes, **NO_IDS))
    )


TARGETS = {
    bert: ("attention", "down"),
    t5: ("attention", "cross_attention"),
    mamba: ("input", "gate", "select"),
}


@pytest.mark.parametrize("make", TARGETS, ids=lambda make: make.__name__)
def test_peft_loads_what_is_written(make, tmp_path):
    twin = parity.read(make(), tmp_path)
    settings = lora.Config(rank=2, alpha=4.0, targets=TARGETS[make])
    adapters = lora.init(jax.random.key(0), settings, twin.params)
    adapters = jax.tree.map(lambda x: x + 0.2 * tiny.normal(*x.shape, seed=x.size), adapters)
    ours.save(tmp_path / "adapter", settings, adapters, twin.family, twin.config)
    with warnings.catch_warnings(), parity.quiet():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(twin.reference, tmp_path / "adapter").eval()
    text = parity.tokens(twin)
    merged, _ = lora.merge(settings, adapters, twin.params)
    wanted = parity.reference_logits(twin._replace(reference=adapted), text)
    got = twin._replace(params=merged).logits(
        parity.with_context(twin, parity.Inputs(jax.numpy.asarray(text)))
    )
    assert parity.difference(got, wanted) < LOGITS


def test_what_peft_refuses_of_mamba_is_not_written(tmp_path):
    twin = parity.read(mamba(), tmp_path)
    settings = lora.Config(rank=2)
    adapters = lora.init(jax.random.key(0), settings, twin.params)
    with pytest.raises(
        UserError,
        match=r"PEFT adapts no out_proj of a MambaForCausalLM; train with --config.adapter",
    ):
        ours.save(tmp_path / "adapter", settings, adapters, twin.family, twin.config)
    assert not (tmp_path / "adapter").exists()


def test_pefts_own_folder_of_a_mixtral_is_read(tmp_path):
    twin = parity.read(mixtral(), tmp_path)
    text = parity.tokens(twin)
    with warnings.catch_warnings(), parity.quiet():
        warnings.simplefilter("ignore")
        wanted = peft.LoraConfig(r=2, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
        adapted = peft.get_peft_model(twin.reference, wanted).eval()
        adapted.save_pretrained(tmp_path / "adapter")
    theirs = parity.reference_logits(twin._replace(reference=adapted), text)
    settings, adapters = ours.load(tmp_path / "adapter", twin.family, twin.config)
    merged, _ = lora.merge(settings, adapters, twin.params)
    got = twin._replace(params=merged).logits(parity.Inputs(jax.numpy.asarray(text)))
    assert parity.difference(got, theirs) < LOGITS
    assert np.abs(got - twin.logits(parity.Inputs(jax.numpy.asarray(text)))).max() > 0.01
