"""Whole models: closed forms, and XLA's count where it sees every equation (unrolled, before it
optimises).
"""

import jax
import jax.numpy as jnp
import pytest
from jax import ShapeDtypeStruct as Shape
from jax import lax

from lm_lab.compute import conventions
from lm_lab.compute.conventions import Geometry
from lm_lab.compute.flops import count
from lm_lab.compute.parameters import by_group

F32 = jnp.float32
BATCH, LENGTH, WIDTH, HEADS, DEPTH, VOCAB = 2, 16, 32, 4, 3, 64


def decoder_params(tied=False):
    """Parameters of a classical decoder: stacked layers, no biases, no norms; with the paths of
    lm_lab's decoder.
    """
    square, up = Shape((DEPTH, WIDTH, WIDTH), F32), Shape((DEPTH, WIDTH, 4 * WIDTH), F32)
    return {
        "embed": {"embedding": Shape((VOCAB, WIDTH), F32)},
        "layers": {
            "attention": {name: {"kernel": square} for name in ("query", "key", "value", "out")},
            "feed_forward": {
                "up": {"kernel": up},
                "down": {"kernel": Shape((DEPTH, 4 * WIDTH, WIDTH), F32)},
            },
        },
    } | ({} if tied else {"head": {"kernel": Shape((WIDTH, VOCAB), F32)}})


def block(x_BLD, layer):
    attention, feed_forward = layer["attention"], layer["feed_forward"]

    def split(name):
        return (x_BLD @ attention[name]["kernel"]).reshape(*x_BLD.shape[:2], HEADS, WIDTH // HEADS)

    scores = jnp.einsum("bqhk,bmhk->bhqm", split("query"), split("key"))
    mixed = jnp.einsum("bhqm,bmhk->bqhk", jax.nn.softmax(scores), split("value")).reshape(
        x_BLD.shape
    )
    x_BLD = x_BLD + mixed @ attention["out"]["kernel"]
    return x_BLD + jax.nn.gelu(x_BLD @ feed_forward["up"]["kernel"]) @ feed_forward["down"][
        "kernel"
    ], None


def loss(params, tokens, scanned):
    x_BLD = params["embed"]["embedding"][tokens]
    if scanned:
        x_BLD, _ = lax.scan(block, x_BLD, params["layers"])
    else:
        for index in range(DEPTH):
            x_BLD, _ = block(x_BLD, jax.tree.map(lambda leaf, i=index: leaf[i], params["layers"]))
    head = params["head"]["kernel"] if "head" in params else params["embed"]["embedding"].T
    return -jax.nn.log_softmax(x_BLD @ head)[..., 0].mean()


TOKENS = Shape((BATCH, LENGTH), jnp.int32)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scanned", [False, True])
def test_decoder_step_costs_what_palm_says(tied, scanned):
    params = decoder_params(tied)
    shape = conventions.geometry(by_group(params), LENGTH, DEPTH, HEADS, WIDTH // HEADS)
    counted = count(
        jax.value_and_grad(lambda params, tokens: loss(params, tokens, scanned)), params, TOKENS
    )
    assert counted.total == BATCH * LENGTH * conventions.per_token(shape)["palm"]
    assert shape.body == conventions.transformer_body(WIDTH, DEPTH)


def test_decoder_agrees_with_xla_on_the_unrolled_model():
    step = jax.value_and_grad(lambda params, tokens: loss(params, tokens, False))
    counted = count(step, decoder_params(), TOKENS)
    analysis = jax.jit(step).lower(decoder_params(), TOKENS).cost_analysis() or {}
    # XLA gives one FLOP to an elementwise operation, and books transcendentals apart.
    xla = analysis["flops"] + analysis["transcendentals"]
    assert counted.total + counted.elementwise == pytest.approx(xla, rel=0.01)


def lstm(carry, x_BI, params):
    """Hochreiter and Schmidhuber's cell with a forget gate."""
    h_BD, c_BD = carry
    i, f, g, o = jnp.split(x_BI @ params["inputs"] + h_BD @ params["recurrent"], 4, axis=-1)
    c_BD = jax.nn.sigmoid(f) * c_BD + jax.nn.sigmoid(i) * jnp.tanh(g)
    h_BD = jax.nn.sigmoid(o) * jnp.tanh(c_BD)
    return (h_BD, c_BD), h_BD


def gru(carry, x_BI, params):
    """Cho's cell (1406.1078), the reset gate after the recurrent product, as cuDNN has it."""
    h_BD, unused = carry
    x_r, x_z, x_n = jnp.split(x_BI @ params["inputs"], 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h_BD @ params["recurrent"], 3, axis=-1)
    update = jax.nn.sigmoid(x_z + h_z)
    h_BD = (1 - update) * jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * h_n) + update * h_BD
    return (h_BD, unused), h_BD


@pytest.mark.parametrize(
    "cell, gates, body",
    [(lstm, 4, conventions.lstm_body), (gru, 3, conventions.gru_body)],
    ids=["lstm", "gru"],
)
def test_recurrent_step_costs_six_flops_a_gate_weight_a_token(cell, gates, body):
    inputs = 24

    def forward(params, x_LBI):
        start = (jnp.zeros((BATCH, WIDTH)),) * 2
        return lax.scan(lambda carry, x: cell(carry, x, params), start, x_LBI)[1].sum()

    params = {
        "inputs": Shape((inputs, gates * WIDTH), F32),
        "recurrent": Shape((WIDTH, gates * WIDTH), F32),
    }
    counted = count(
        jax.value_and_grad(forward, (0, 1)), params, Shape((LENGTH, BATCH, inputs), F32)
    )
    per_token = conventions.per_token(Geometry(body(WIDTH, 1, inputs), 0, LENGTH))["6N_body"]
    assert per_token == 6 * gates * WIDTH * (inputs + WIDTH)
    assert counted.total == BATCH * LENGTH * per_token
