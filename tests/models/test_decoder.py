import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.models.decoder import Config
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import DEPTH, HEADS, ROUNDING, VOCAB, WIDTH, distance

TOKENS = tiny.tokens()


def logits_of(model, params, key=None, inputs=None):
    rngs = None if key is None else {"dropout": jax.random.key(key)}
    return jax.jit(lambda p: model.apply({"params": p}, inputs or Inputs(TOKENS), rngs=rngs))(params)


def numpy_decoder(params, tokens, norm):
    """The decoder of learned positions and GELU, written down in float64 with loops over layers and heads."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def normed(x, scale):
        x = x - x.mean(-1, keepdims=True) if norm == "layer" else x
        return scale * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)

    x = p["embed"]["embedding"][tokens] + p["positions"]["embedding"][: len(tokens)]
    past = np.tril(np.ones((len(tokens), len(tokens)), bool))
    for layer in range(DEPTH):
        own = jax.tree.map(lambda leaf, layer=layer: leaf[layer], p["layers"])
        y = normed(x, own["attention_norm"]["scale"])
        q, k, v = (y @ own["attention"][name]["kernel"] for name in ("query", "key", "value"))
        mixed = []
        for head in np.split(np.arange(WIDTH), HEADS):
            scores = np.where(past, q[:, head] @ k[:, head].T / np.sqrt(len(head)), -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, head])
        x = x + np.concatenate(mixed, -1) @ own["attention"]["out"]["kernel"]
        up = normed(x, own["feed_forward_norm"]["scale"]) @ own["feed_forward"]["up"]["kernel"]
        hidden = up * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        x = x + hidden @ own["feed_forward"]["down"]["kernel"]
    head = p["head"]["kernel"] if "head" in p else p["embed"]["embedding"].T
    return normed(x, p["norm"]["scale"]) @ head


@pytest.mark.parametrize("norm, tied", [("rms", False), ("layer", True)])
def test_logits_are_those_of_the_formulas(norm, tied):
    model = tiny.model(norm=norm, tied=tied, positions="learned")
    params = tiny.params_of(model, Inputs(TOKENS))
    assert ("head" in params) != tied
    assert distance(logits_of(model, params)[0], numpy_decoder(params, np.asarray(TOKENS[0]), norm)) < ROUNDING


@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_the_closed_form(norm, activation, tied):
    model = tiny.model(norm=norm, activation=activation, tied=tied, width=24, heads=2)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), Inputs(TOKENS)))
    inner = 96 if activation == "gelu" else 64
    layer = 4 * 24**2 + (2 if activation == "gelu" else 3) * 24 * inner + 2 * 24
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert total == VOCAB * 24 * (1 if tied else 2) + DEPTH * layer + 24


def test_the_stream_begins_with_logits_of_unit_size():
    model = tiny.model(width=128, depth=8, heads=4, scan=True)
    params = tiny.params_of(model, Inputs(TOKENS))
    assert 0.8 < float(logits_of(model, params).std()) < 1.2


def test_features_drop_only_where_a_key_is_given():
    model = tiny.model(dropout=0.5)
    params = tiny.params_of(model, Inputs(TOKENS))
    still = logits_of(model, params)
    assert tiny.same_bits(still, logits_of(tiny.model(), params))
    assert tiny.same_bits(still, logits_of(model, params))
    assert tiny.same_bits(logits_of(model, params, key=1), logits_of(model, params, key=1))
    assert distance(logits_of(model, params, key=1), still) > 0.1
    assert distance(logits_of(model, params, key=1), logits_of(model, params, key=2)) > 0.1


def test_a_half_precision_model_is_the_float32_one_rounded():
    model = tiny.model()
    params = tiny.params_of(model, Inputs(TOKENS))
    half = logits_of(model, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
    # Some ten roundings of 2^-9 a layer, of terms that partly cancel.
    assert distance(half, logits_of(model, params)) < 0.05


@pytest.mark.parametrize("scheme", ["rotary", "learned", "none"])
def test_order_is_seen_where_positions_are(scheme):
    model = tiny.model(positions=scheme, depth=1)
    params = tiny.params_of(model, Inputs(TOKENS))
    swapped = TOKENS.at[:, [0, 1]].set(TOKENS[:, [1, 0]])
    last = [logits_of(model, params, inputs=Inputs(tokens))[:, -1] for tokens in (TOKENS, swapped)]
    # One layer without positions sees the past as a bag.
    assert (distance(*last) < ROUNDING) == (scheme == "none")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"width": 10, "heads": 3}, "width 10 is not divisible by heads 3"),
        ({"width": 6, "heads": 2}, "rotary positions need an even width / heads"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Config(**changes)
    assert Config(**changes | {"heads": 2, "positions": "none"}).length is None


def test_geometry():
    assert Config(width=48, heads=3, depth=5).attention_geometry == (5, 3, 16)
    assert Config(width=48, heads=3, activation="swiglu").inner == 128
    assert Config(width=48, heads=3).inner == 192
    assert Config(width=48, heads=3, feed_forward=7).inner == 7
