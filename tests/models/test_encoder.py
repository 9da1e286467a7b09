import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute import conventions
from lm_lab.compute.flops import count
from lm_lab.compute.parameters import by_group
from lm_lab.interop.fields import config_of
from lm_lab.models.encoder import Config
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import DEPTH, HEADS, LENGTH, ROUNDING, VOCAB, WIDTH, distance

TOKENS = tiny.tokens()
KINDS = (jnp.arange(LENGTH) > 6).astype(jnp.int32)[None]
ERF = np.vectorize(math.erf)


def numpy_encoder(params, tokens, kinds, norm_position):
    """BERT with its masked-token head, written down in float64 with loops over layers and heads."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def normed(x, own):
        x = x - x.mean(-1, keepdims=True)
        return own["scale"] * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) + own["bias"]

    def linear(x, own):
        return x @ own["kernel"] + own["bias"]

    def gelu(x):
        return x * 0.5 * (1 + ERF(x / np.sqrt(2)))

    def attention(x, own):
        q, k, v = (linear(x, own[name]) for name in ("query", "key", "value"))
        mixed = []
        for head in np.split(np.arange(WIDTH), HEADS):
            scores = q[:, head] @ k[:, head].T / np.sqrt(len(head))
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, head])
        return linear(np.concatenate(mixed, -1), own["out"])

    def feed_forward(x, own):
        return linear(gelu(linear(x, own["up"])), own["down"])

    x = (
        p["embed"]["embedding"][tokens]
        + p["positions"]["embedding"][: len(tokens)]
        + p["kinds"]["embedding"][kinds]
    )
    x = normed(x, p["embedding_norm"])
    for layer in range(DEPTH):
        own = jax.tree.map(lambda leaf, layer=layer: leaf[layer], p["layers"])
        for name, branch in (("attention", attention), ("feed_forward", feed_forward)):
            norm = own[f"{name}_norm"]
            if norm_position == "pre":
                x = x + branch(normed(x, norm), own[name])
            else:
                x = normed(x + branch(x, own[name]), norm)
    x = normed(x, p["norm"]) if norm_position == "pre" else x
    x = normed(gelu(linear(x, p["transform"])), p["transform_norm"])
    head = p["head"]["kernel"] if "kernel" in p["head"] else p["embed"]["embedding"].T
    return x @ head + p["head"]["bias"]


@pytest.mark.parametrize("norm_position, tied", [("post", True), ("pre", False)])
def test_logits_are_those_of_the_formulas(norm_position, tied):
    model = tiny.model("encoder", norm_position=norm_position, tied=tied, kinds=2)
    params = tiny.random_params(model, Inputs(TOKENS))
    kinds = jnp.broadcast_to(KINDS, TOKENS.shape)
    logits = jax.jit(lambda p: model.apply({"params": p}, Inputs(TOKENS, kinds=kinds)))(params)
    expected = numpy_encoder(params, np.asarray(TOKENS[1]), np.asarray(KINDS[0]), norm_position)
    assert distance(logits[1], expected) < ROUNDING


def test_kinds_not_given_are_the_first():
    model = tiny.model("encoder", kinds=2)
    variables = {"params": tiny.random_params(model, Inputs(TOKENS))}
    apply = jax.jit(model.apply)
    first = apply(variables, Inputs(TOKENS, kinds=jnp.zeros_like(TOKENS)))
    assert distance(apply(variables, Inputs(TOKENS)), first) < ROUNDING
    assert distance(apply(variables, Inputs(TOKENS, kinds=jnp.ones_like(TOKENS))), first) > 1e-3


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scan", [False, True])
def test_a_step_costs_what_palm_says_with_the_transform_of_the_head(tied, scan):
    rows, inner = TOKENS.shape[0], 40
    model = tiny.model("encoder", tied=tied, scan=scan, kinds=2, feed_forward_dim=inner)
    params = jax.eval_shape(lambda: tiny.params_of(model, Inputs(TOKENS)))
    counted = count(
        jax.value_and_grad(lambda p: model.apply({"params": p}, Inputs(TOKENS)).sum()), params
    ).total
    layer = 4 * WIDTH**2 + 2 * WIDTH * inner
    matrices = DEPTH * layer + WIDTH**2 + VOCAB * WIDTH
    assert counted == rows * LENGTH * (6 * matrices + 12 * DEPTH * WIDTH * LENGTH)
    groups = by_group(params)
    shape = conventions.geometry(groups, LENGTH, *model.cfg.attention_geometry)
    assert counted == rows * LENGTH * conventions.per_token(shape)["palm"]
    assert groups["other"] == 0
    assert groups["positions"] == (LENGTH + 2) * WIDTH
    vectors = DEPTH * (4 * WIDTH + inner + WIDTH + 4 * WIDTH) + 2 * WIDTH + 3 * WIDTH + VOCAB
    tables = (VOCAB if tied else 2 * VOCAB) * WIDTH + groups["positions"]
    assert groups["total"] == DEPTH * layer + WIDTH**2 + vectors + tables


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"width": 10, "heads": 4}, "width 10 is not divisible by heads 4"),
        ({"width": 12, "heads": 4, "positions": "rotary"}, "even width / heads"),
        ({"norm": "rms"}, "norm_bias is for norm layer"),
        ({"global_every": 3}, "is for models with a window"),
        ({"bare_first": True}, "bare_first is for norm_position pre"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        config_of(Config, changes, "config.model")
