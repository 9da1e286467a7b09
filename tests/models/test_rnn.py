import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import generation
from lm_lab.compute import conventions
from lm_lab.compute.flops import count
from lm_lab.compute.parameters import by_group
from lm_lab.models.rnn import FAMILY, Config
from lm_lab.nn.cells import CELLS
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import DEPTH, LENGTH, ROUNDING, VOCAB, WIDTH, distance

TOKENS = tiny.tokens()


def logits_of(model, params, inputs=None, key=None):
    rngs = None if key is None else {"dropout": jax.random.key(key)}
    return jax.jit(lambda p: model.apply({"params": p}, inputs or Inputs(TOKENS), rngs=rngs))(
        params
    )


BODIES = {"lstm": conventions.lstm_body, "gru": conventions.gru_body}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_step_costs_six_flops_a_weight_and_token(cell, bidirectional):
    model = tiny.model("rnn", cell=cell, bidirectional=bidirectional)
    params = jax.eval_shape(lambda: tiny.params_of(model, Inputs(TOKENS)))

    def loss(params):
        return model.apply({"params": params}, Inputs(TOKENS)).sum()

    gates, shape = CELLS[cell].gates, conventions.geometry(by_group(params), LENGTH)
    # A half reads all of the stream, and its own state.
    body = DEPTH * gates * (WIDTH * (WIDTH + WIDTH // 2) if bidirectional else 2 * WIDTH**2)
    assert shape.body == body
    assert bidirectional or BODIES.get(cell, lambda *_: body)(WIDTH, DEPTH) == body
    counted = count(jax.value_and_grad(loss), params)
    assert counted.total == TOKENS.size * conventions.per_token(shape)["6N_matmul"]
    assert counted.by_group["recurrent"] == TOKENS.size * 6 * body


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_the_closed_form(tied):
    groups = by_group(
        jax.eval_shape(lambda: tiny.params_of(tiny.model("rnn", tied=tied), Inputs(TOKENS)))
    )
    assert groups["recurrent"] == DEPTH * (8 * WIDTH**2 + 4 * WIDTH)
    assert groups["norm"] == (DEPTH + 1) * WIDTH
    assert groups["total"] - groups["recurrent"] - groups["norm"] == VOCAB * WIDTH * (
        1 if tied else 2
    )


def test_two_directions_see_the_whole_segment_and_nothing_else():
    model = tiny.model("rnn", bidirectional=True)
    assert FAMILY.scope_of(model.cfg) == "bidirectional"
    assert FAMILY.scope_of(tiny.model("rnn").cfg) == "causal"
    params = tiny.params_of(model, Inputs(TOKENS))
    segments = jnp.asarray([[1] * 5 + [2] * 8 + [0] * 3] * 2)
    packed = logits_of(model, params, Inputs(TOKENS, segments))
    alone = [
        logits_of(model, params, Inputs(TOKENS[:, place])) for place in (slice(0, 5), slice(5, 13))
    ]
    assert distance(packed[:, :13], jnp.concatenate(alone, 1)) < ROUNDING
    other = logits_of(model, params, Inputs(TOKENS.at[:, 4].add(1) % VOCAB, segments))
    changed = np.abs(np.asarray(other - packed)).max((0, 2)) > 0
    assert changed.tolist() == [True] * 5 + [False] * 11


@pytest.mark.parametrize(
    "changes", [{}, {"residual": False, "norm": None, "cell": "gru", "bias": False}]
)
def test_a_cache_is_of_constant_size_and_goes_on_across_packed_documents(changes):
    model = tiny.model("rnn", **changes)
    params = {"params": tiny.params_of(model, Inputs(TOKENS))}
    sizes = [
        sum(
            leaf.size
            for leaf in jax.tree.leaves(
                generation.init_cache(model, params, Inputs(TOKENS[:, :length]))
            )
        )
        for length in (1, LENGTH)
    ]
    assert sizes[0] == sizes[1] == 2 * (DEPTH * CELLS[model.cfg.cell].states * WIDTH + 1)
    segments = jnp.asarray([[1] * 5 + [0] * 2 + [2] * 9] * 2)
    cache, parts = generation.init_cache(model, params, Inputs(TOKENS)), []
    for begin, end in ((0, 4), (4, 6), (6, LENGTH)):
        inputs = Inputs(TOKENS[:, begin:end], segments[:, begin:end])
        logits, cache = generation.advance(model, params, cache, inputs)
        parts.append(logits)
    assert (
        distance(
            jnp.concatenate(parts, 1), logits_of(model, params["params"], Inputs(TOKENS, segments))
        )
        < ROUNDING
    )


def test_features_drop_only_where_a_key_is_given():
    model, still = tiny.model("rnn", dropout=0.5), tiny.model("rnn")
    params = tiny.params_of(model, Inputs(TOKENS))
    assert tiny.same_bits(logits_of(model, params), logits_of(still, params))
    assert distance(logits_of(model, params, key=1), logits_of(model, params, key=2)) > 0.1


def test_a_half_precision_model_is_the_float32_one_rounded():
    model = tiny.model("rnn")
    params = tiny.params_of(model, Inputs(TOKENS))
    half = logits_of(model, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
    # Some ten roundings of 2^-9 a layer, of terms that partly cancel.
    assert distance(half, logits_of(model, params)) < 0.05


def test_an_lstm_begins_by_remembering():
    bias = tiny.params_of(tiny.model("rnn"), Inputs(TOKENS))["layers"]["recurrent"]["bias"]
    assert bias[:, WIDTH : 2 * WIDTH].min() == bias.max() == 1
    assert bias.sum() == DEPTH * WIDTH


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_may_begin_uniform_within_a_limit(tied):
    changes = {"initial_limit": 0.1, "norm": None, "head_bias": True, "tied": tied}
    params = tiny.params_of(tiny.model("rnn", cell="gru", width=64, **changes), Inputs(TOKENS))
    assert params["head"].keys() == ({"bias"} if tied else {"bias", "kernel"})
    for leaf in map(np.asarray, jax.tree.leaves(params)):
        # of at least 32 draws: the largest is below four fifths once in 1,000
        assert 0.08 < np.abs(leaf).max() <= 0.1
        assert leaf.min() < 0 < leaf.max()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"width": 7, "bidirectional": True}, "width 7 cannot be shared by two directions"),
        ({"cell": "gru", "recurrent_kernel": "cudnn"}, "recurrent_kernel cudnn is for cell lstm"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Config(**changes)
