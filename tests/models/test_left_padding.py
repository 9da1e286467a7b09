"""A text that is padded on the left has the logits of the text alone, also where transformers gives
it others.
"""

import jax
import jax.numpy as jnp
import pytest

from tests import tiny

PADDING = 3
SHAPES = {
    "BART": ("encoder_decoder", {"positions": "learned", "norm": "layer", "embedding_norm": True}),
    "MarianMT": ("encoder_decoder", {"positions": "sinusoidal", "norm": "layer"}),
    "RecurrentGemma": ("state_space", {"block": "rg_lru", "attention_every": 2, "bias": True}),
    "Mamba with biases": ("state_space", {"block": "mamba", "bias": True}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_padding_on_the_left_changes_nothing(name):
    family, changes = SHAPES[name]
    model = tiny.model(family, **changes)
    text = tiny.tokens(length=tiny.LENGTH - PADDING)
    alone = tiny.inputs(family, text)
    params = jax.tree.map(lambda x: x + 0.1, tiny.params_of(model, alone))  # biases too
    before = ((0, 0), (PADDING, 0))
    segments = jnp.pad(jnp.ones_like(text), before)
    places = jnp.maximum(jnp.cumsum(segments, axis=1) - 1, 0)
    padded = tiny.inputs(family, jnp.pad(text, before, constant_values=7), segments, places)
    logits = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    assert tiny.distance(logits(padded)[:, PADDING:], logits(alone)) < tiny.ROUNDING
