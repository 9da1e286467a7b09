"""The encoder-decoder: its formulas in float64, what its two sides see, and what it costs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute import conventions
from lm_lab.compute.flops import count
from lm_lab.compute.parameters import by_group
from lm_lab.interop.fields import config_of
from lm_lab.models.encoder_decoder import Config
from lm_lab.nn.positions import relative_buckets, sinusoidal
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import CONTEXT, DEPTH, HEADS, LENGTH, ROUNDING, VOCAB, WIDTH, distance

FAMILY = "encoder_decoder"
TOKENS = tiny.tokens()
INPUTS = tiny.inputs(FAMILY, TOKENS)

OF_2017 = {
    "norm": "layer",
    "norm_bias": True,
    "norm_position": "post",
    "positions": "sinusoidal",
    "activation": "relu",
    "bias": True,
    "score_scaling": True,
    "embedding_scaling": True,
    "tied": True,
}
BART = OF_2017 | {
    "positions": "learned",
    "embedding_scaling": False,
    "embedding_norm": True,
    "head_bias": True,
    "activation": "gelu_exact",
}
T5 = {
    "head_dim": 5,
    "encoder_depth": 1,
    "tied": True,
    "head_scaling": True,
    "positions.buckets": 8,
    "positions.reach": 9,
}
T5_1_1 = {"activation": "geglu", "feed_forward_dim": 20}


def built(**changes):
    """(model, params): norms and biases are random too."""
    model = tiny.model(FAMILY, **changes)
    return model, tiny.random_params(model, INPUTS)


class Formulas:
    """The model of a config, written down in float64 with loops over layers and heads, for one row
    of text.
    """

    def __init__(self, cfg, params):
        self.cfg, self.params = cfg, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(self, x, own):
        x = x - x.mean(-1, keepdims=True) if self.cfg.norm == "layer" else x
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * own["scale"] + own.get(
            "bias", 0
        )

    def linear(self, x, own):
        return x @ own["kernel"] + own.get("bias", 0)

    def attention(self, x, read, own, bias, seen):
        q, k, v = (
            self.linear(y, own[name]) for name, y in (("query", x), ("key", read), ("value", read))
        )
        size, mixed = self.cfg.features_of_head, []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = (
                q[:, part] @ k[:, part].T / (np.sqrt(size) if self.cfg.score_scaling else 1)
                + bias[head]
            )
            weights = np.where(seen, np.exp(scores - scores.max(-1, keepdims=True)), 0)
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        return self.linear(np.concatenate(mixed, -1), own["out"])

    def feed_forward(self, x, own):
        return self.linear(np.maximum(self.linear(x, own["up"]), 0), own["down"])

    def add(self, x, norm, branch):
        return (
            x + branch(self.norm(x, norm))
            if self.cfg.norm_position == "pre"
            else self.norm(x + branch(x), norm)
        )

    def side(self, prefix, tokens, stack, depth, context=None):
        """What a stack makes of tokens, and of the context where it reads one."""
        cfg, p = self.cfg, self.params
        x = p["embed"]["embedding"][tokens] * (np.sqrt(WIDTH) if cfg.embedding_scaling else 1)
        places = np.arange(len(tokens))
        bias = nothing = np.zeros((HEADS, 1, 1))
        if cfg.max_length:
            x = x + p[f"{prefix}positions"]["embedding"][places]
        elif cfg.positions.scales_embedding:
            x = x + np.asarray(sinusoidal(jnp.asarray(places), WIDTH), np.float64)
        else:
            sizes = {"buckets": cfg.positions.buckets, "reach": cfg.positions.reach}
            buckets = relative_buckets(
                places[:, None] - places, bidirectional=context is None, **sizes
            )
            bias = p[f"{prefix}positions"]["table"]["embedding"][np.asarray(buckets)].transpose(
                2, 0, 1
            )
        if cfg.embedding_norm:
            x = self.norm(x, p[f"{prefix}embedding_norm"])
        seen = True if context is None else places[:, None] >= places
        for layer in range(depth):
            own = jax.tree.map(lambda leaf, layer=layer: leaf[layer], p[stack])
            x = self.add(
                x,
                own["attention_norm"],
                lambda y, own=own: self.attention(y, y, own["attention"], bias, seen),
            )
            if context is not None:
                cross = partial(
                    self.attention,
                    read=context,
                    own=own["cross_attention"],
                    bias=nothing,
                    seen=True,
                )
                x = self.add(x, own["cross_attention_norm"], cross)
            x = self.add(
                x,
                own["feed_forward_norm"],
                lambda y, own=own: self.feed_forward(y, own["feed_forward"]),
            )
        return self.norm(x, p[f"{prefix}norm"]) if cfg.norm_position == "pre" else x

    def logits(self, tokens, context):
        cfg, p = self.cfg, self.params
        read = self.side("encoder_", context, "encoder", cfg.depth_of_encoder)
        x = self.side("", tokens, "layers", cfg.depth, read) / (
            np.sqrt(WIDTH) if cfg.head_scaling else 1
        )
        head = p["embed"]["embedding"].T if cfg.tied else p["head"]["kernel"]
        return x @ head + (p["head"]["bias"] if cfg.head_bias else 0)


@pytest.mark.parametrize(
    "changes",
    [OF_2017, BART | {"activation": "relu"}, T5],
    ids=["transformer of 2017", "BART", "T5"],
)
def test_logits_are_those_of_the_formulas(changes):
    model, params = built(**changes)
    logits = jax.jit(lambda p: model.apply({"params": p}, INPUTS))(params)
    row = [np.asarray(x[1]) for x in (INPUTS.tokens, INPUTS.context)]
    assert distance(logits[1], Formulas(model.cfg, params).logits(*row)) < ROUNDING


@pytest.mark.parametrize("positions", ["relative", "sinusoidal", "learned"])
def test_every_token_of_a_context_is_read_with_all_the_others_and_in_order(positions):
    model, params = built(positions=positions, depth=1)
    probe = tiny.normal(WIDTH)
    context = INPUTS.context.at[1].set(INPUTS.context[0, jnp.asarray([1, 0, *range(2, CONTEXT)])])

    def encoded(table):
        filled = params | {"embed": {"embedding": table}}
        read = model.apply({"params": filled}, INPUTS._replace(context=context), method="encode")
        return read[0] @ probe, read.sum(1)

    by_row, sums = jax.jit(jax.jacrev(encoded, has_aux=True))(params["embed"]["embedding"])
    assert (np.abs(np.asarray(by_row)[:, context[0]]).sum(-1) > 0).all()
    assert distance(sums[0], sums[1]) > 1e-3  # where no order is seen, rows only change places


@pytest.mark.parametrize(
    "changes", [T5, T5 | T5_1_1, BART, {}], ids=["T5", "T5 v1.1", "BART", "default"]
)
def test_the_logits_begin_with_unit_size(changes):
    wide = (
        changes
        | {"width": 128, "heads": 4, "vocab": 512}
        | ({"head_dim": 32} if "head_dim" in changes else {})
    )
    assert 0.7 < tiny.first_logits(tiny.model(FAMILY, **wide), INPUTS).std() < 1.3


@pytest.mark.parametrize(
    "changes", [BART, T5, T5_1_1 | {"scan": False}], ids=["BART", "T5", "T5 v1.1, unrolled"]
)
def test_a_step_costs_the_closed_form(changes):
    model = tiny.model(FAMILY, **changes)
    cfg, rows = model.cfg, TOKENS.shape[0]
    params = jax.eval_shape(lambda: tiny.params_of(model, INPUTS))
    counted = count(
        jax.value_and_grad(lambda p: model.apply({"params": p}, INPUTS).sum()), params
    ).total
    heads = HEADS * cfg.features_of_head
    attention, feed_forward = (
        4 * WIDTH * heads,
        (3 if cfg.activation == "geglu" else 2) * WIDTH * cfg.inner,
    )
    # Keys and values of cross-attention are products with the context's tokens, queries and ways
    # back with the text's.
    of_context = cfg.depth_of_encoder * (attention + feed_forward) + cfg.depth * attention // 2
    of_text = cfg.depth * (attention + feed_forward + attention // 2) + WIDTH * VOCAB
    pairs = cfg.depth_of_encoder * CONTEXT**2 + cfg.depth * (LENGTH**2 + LENGTH * CONTEXT)
    assert counted == rows * (6 * (CONTEXT * of_context + LENGTH * of_text) + 12 * heads * pairs)


def test_a_context_as_long_as_the_text_costs_what_palm_says():
    model = tiny.model(FAMILY)
    inputs = Inputs(TOKENS, context=TOKENS)
    params = jax.eval_shape(lambda: tiny.params_of(model, inputs))
    counted = count(
        jax.value_and_grad(lambda p: model.apply({"params": p}, inputs).sum()), params
    ).total
    shape = conventions.geometry(by_group(params), LENGTH, *model.cfg.attention_geometry)
    assert counted == TOKENS.size * conventions.per_token(shape)["palm"]


def test_parameters_by_group():
    groups = by_group(jax.eval_shape(lambda: tiny.params_of(tiny.model(FAMILY, **BART), INPUTS)))
    assert groups["attention"] == 3 * DEPTH * (4 * WIDTH**2 + 4 * WIDTH)
    assert groups["feed_forward"] == 2 * DEPTH * (8 * WIDTH**2 + 5 * WIDTH)
    assert groups["norm"] == (5 * DEPTH + 2) * 2 * WIDTH
    assert groups["positions"] == 2 * LENGTH * WIDTH
    assert (groups["embedding"], groups["head"], groups["other"]) == (VOCAB * WIDTH, VOCAB, 0)
    relative = by_group(jax.eval_shape(lambda: tiny.params_of(tiny.model(FAMILY), INPUTS)))
    assert (relative["positions"], relative["other"]) == (2 * 32 * HEADS, 0)


def test_a_text_without_a_context_is_refused():
    model = tiny.model(FAMILY)
    with pytest.raises(UserError, match="reads a context"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), Inputs(TOKENS)))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"width": 10, "heads": 4}, "width 10 is not divisible by heads 4"),
        ({"width": 9, "heads": 3, "positions": "sinusoidal"}, "even width, not 9"),
        ({"norm_bias": True}, "norm_bias is for norm layer"),
        ({"positions.buckets": 6}, "must be a multiple of 4"),
        ({"positions.reach": 16}, "reach 16 more than half"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        config_of(Config, changes, "config.model")
