"""The cost of generating a token: its weights, once, and the cached keys and values."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from lm_lab import generation
from lm_lab.compute.flops import count
from lm_lab.compute.parameters import by_group
from lm_lab.types import Inputs
from tests import tiny
from tests.tiny import DEPTH, VOCAB, WIDTH

ROWS, CAPACITY = 3, 24
ATTENTION = (
    2 * 2 * DEPTH * WIDTH * CAPACITY
)  # scores and mixtures over all slots of the cache, a row
CASES = {
    "decoder": ({}, ATTENTION),
    "decoder, shared keys": ({"kv_heads": 1}, ATTENTION),
    "decoder, window": (
        {"window": 8},
        2 * 2 * DEPTH * WIDTH * 9,
    ),  # the window held, and the token itself
    "decoder, tied": ({"tied": True}, ATTENTION),
    "rnn": ({}, 0),
    "rnn, GRU": ({"cell": "gru"}, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_a_token_costs_its_weights_and_its_memory(case):
    changes, attention = CASES[case]
    model = tiny.model(case.split(",")[0], **changes)
    tokens: Any = jax.ShapeDtypeStruct((ROWS, CAPACITY), jnp.int32)
    inputs = Inputs(tokens, tokens, tokens)
    params = jax.eval_shape(lambda: tiny.params_of(model, Inputs(jnp.zeros((1, 2), jnp.int32))))
    cache = jax.eval_shape(lambda: generation.init_cache(model, {"params": params}, inputs))
    step = jax.tree.map(lambda x: jax.ShapeDtypeStruct((ROWS, 1), x.dtype), inputs)
    counted = count(
        lambda p, c, i: generation.advance(model, {"params": p}, c, i), params, cache, step
    )
    assert counted.total == ROWS * (2 * by_group(params)["matmul"] + attention)
    assert by_group(params)["matmul"] > VOCAB * WIDTH
