"""Mixtral: one model, here and in transformers."""

import copy
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.interop import folder, mixtral
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.interop import parity

SHAPES = {
    "wide": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "vocab_size": 40,
        "max_position_embeddings": 32,
        "num_local_experts": 4,
        "sliding_window": 5,
    },
    "deep": {
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 6,
        "intermediate_size": 20,
        "vocab_size": 23,
        "max_position_embeddings": 16,
        "num_local_experts": 6,
        "num_experts_per_tok": 3,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6,
    },
}


def their_gradients(twin, place):
    """Of the mean next-token loss: saved as if they were a model's tensors, for in memory these are
    fused.
    """
    torch = importlib.import_module("torch")
    text = torch.as_tensor(parity.tokens(twin))
    model = copy.deepcopy(twin.reference)
    logits = model(input_ids=text).logits[:, :-1]
    torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), text[:, 1:].reshape(-1)
    ).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    with parity.quiet():
        model.save_pretrained(place)
    return folder.load(place)[2]


@pytest.mark.torch
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_model_of_transformers(shape, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(**SHAPES[shape], bos_token_id=None, eos_token_id=None)
    twin = parity.read(parity.randomised(lambda: transformers.MixtralForCausalLM(config)), tmp_path)
    parity.check_logits(twin)
    for side in ("left", "right"):
        parity.check_padding(twin, side)
    parity.check_left_context(twin)
    parity.check_export(twin, tmp_path)
    model, ids = twin.model(), jnp.asarray(parity.tokens(twin), jnp.int32)

    def loss(params):
        shares = jax.nn.log_softmax(model.apply({"params": params}, Inputs(ids))[:, :-1])
        return -jnp.take_along_axis(shares, ids[:, 1:, None], -1).mean()

    ours, theirs = (
        jax.jit(jax.grad(loss))(twin.params),
        their_gradients(twin, tmp_path / "gradients"),
    )
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.abs(one - other).max() < parity.GRADIENTS * max(
            np.abs(other).max(), 1e-3 * largest
        )


def test_a_mixture_finds_its_architecture_and_comes_back(tmp_path):
    model = tiny.model(
        activation="swiglu", **{"feed_forward.name": "experts", "feed_forward.count": 4}
    )
    params = jax.device_get(tiny.params_of(model, Inputs(tiny.tokens())))
    assert folder.save(tmp_path / "out", "decoder", model.cfg, params) == "MixtralForCausalLM"
    assert json.loads((tmp_path / "out/config.json").read_text())["num_local_experts"] == 4
    family, config, read = folder.load(tmp_path / "out")
    assert (family, config.feed_forward) == ("decoder", model.cfg.feed_forward)
    assert tiny.same_bits(read, params)


def test_what_mixtral_has_not_is_named(tmp_path):
    with pytest.raises(UserError, match="num_experts_per_tok 1 is not supported"):
        mixtral.read_config(SHAPES["wide"] | {"num_experts_per_tok": 1})
    with pytest.raises(UserError, match=r"router_jitter_noise 0\.1 is not supported"):
        mixtral.read_config(SHAPES["wide"] | {"router_jitter_noise": 0.1})
    model = tiny.model(
        activation="swiglu", **{"feed_forward.name": "experts", "feed_forward.capacity_factor": 2.0}
    )
    params = tiny.params_of(model, Inputs(tiny.tokens()))
    with pytest.raises(
        UserError, match=r"model\.feed_forward\.capacity_factor 2\.0 cannot be written as Mixtral"
    ):
        folder.save(tmp_path / "out", "decoder", model.cfg, params, "MixtralForCausalLM")
