import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.compute import conventions, flops
from lm_lab.compute.parameters import by_group
from lm_lab.engine import step
from lm_lab.engine.sharding import unbox
from lm_lab.interop.fields import config_of
from lm_lab.models.decoder import Config, Model
from lm_lab.nn.positions import Alibi, LinearScaling, Rotary
from lm_lab.objectives import causal
from lm_lab.types import Inputs, UserError, Vocabulary
from tests import tiny
from tests.tiny import DEPTH, LENGTH, ROUNDING, VOCAB, WIDTH, distance

TOKENS = tiny.tokens()


@functools.cache
def forward(config):
    """The forward pass of these settings, compiled once for each form of what it is given."""
    model = Model(config)
    return jax.jit(lambda params, inputs, rngs: model.apply({"params": params}, inputs, rngs=rngs))


def logits_of(model, params, key=None, inputs=None):
    rngs = None if key is None else {"dropout": jax.random.key(key)}
    return forward(model.cfg)(params, inputs or Inputs(TOKENS), rngs)


def affine(x, own):
    return x @ own["kernel"] + own.get("bias", 0)


def turned(x, place, cfg, local):
    """Of one head [L K], in a layer with a window or without."""
    rotary = cfg.positions
    turning = int(rotary.share * x.shape[-1])
    half, own_base = turning // 2, local and rotary.window_base
    rate = (own_base or rotary.base) ** (-2 * np.arange(half) / turning)
    if isinstance(rotary.scaling, LinearScaling) and not own_base:
        rate = rate / rotary.scaling.factor
    z = (x[:, :half] + 1j * x[:, half:turning]) * np.exp(1j * place[:, None] * rate)
    return np.concatenate([z.real, z.imag, x[:, turning:]], -1)


def fed_forward(y, own):
    up = affine(y, own["up"])
    if "gate" in own:  # swiglu
        gate = affine(y, own["gate"])
        return affine(gate / (1 + np.exp(-gate)) * up, own["down"])
    return affine(
        up * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3))), own["down"]
    )


def normed(x, own, cfg, kind=None):
    x = x - x.mean(-1, keepdims=True) if (kind or cfg.norm) == "layer" else x
    size = np.sqrt((x**2).mean(-1, keepdims=True) + cfg.norm_epsilon)
    return own["scale"] * x / size + own.get("bias", 0)


def normed_if(x, own, name, cfg):
    return normed(x, own[name], cfg) if name in own else x


def attended(y, own, cfg, local):
    """Attention to the positions before, a loop over the heads."""
    q, k, v = (affine(y, own[name]) for name in ("query", "key", "value"))
    dim = cfg.features_of_head
    if cfg.qk_norm and cfg.qk_norm_over == "heads":
        q = normed(q, own["query_norm"], cfg, cfg.qk_norm)
        k = normed(k, own["key_norm"], cfg, cfg.qk_norm)
    mixed = []
    for head in range(cfg.heads):
        group = head * (cfg.kv_heads or cfg.heads) // cfg.heads
        q_h, k_h, v_h = (
            x[:, i * dim : (i + 1) * dim] for x, i in ((q, head), (k, group), (v, group))
        )
        if cfg.qk_norm and cfg.qk_norm_over == "head":
            q_h = normed(q_h, own["query_norm"], cfg, cfg.qk_norm)
            k_h = normed(k_h, own["key_norm"], cfg, cfg.qk_norm)
        mixed.append(attention_weights(q_h, k_h, head, cfg, local) @ v_h)
    return affine(np.concatenate(mixed, -1), own["out"])


def attention_weights(q, k, head, cfg, local):
    """The weights of one head, of queries and keys [L head_dim]."""
    place = np.arange(len(q))
    distance = place[:, None] - place
    if isinstance(cfg.positions, Rotary):
        q, k = (turned(x, place, cfg, local) for x in (q, k))
    scores = q @ k.T * (cfg.attention_scale or cfg.features_of_head**-0.5)
    if cfg.attention_softcap:
        scores = cfg.attention_softcap * np.tanh(scores / cfg.attention_softcap)
    if isinstance(cfg.positions, Alibi):
        scores -= 2.0 ** (-8 * (head + 1) / cfg.heads) * distance
    seen = (distance >= 0) & (distance < ((local and cfg.window) or len(q)))
    weights = np.where(seen, np.exp(scores), 0)
    return weights / weights.sum(-1, keepdims=True)


def layer_of(x, own, cfg, local):
    """One layer on the residual stream [L width]."""
    before = x
    added = attended(normed_if(x, own, "attention_norm", cfg), own["attention"], cfg, local)
    x = x + normed_if(added, own, "attention_out_norm", cfg)
    y = before if cfg.parallel else x
    if "feed_forward_norm" in own:
        y = normed(y, own["feed_forward_norm"], cfg)
    elif cfg.parallel:
        y = normed_if(before, own, "attention_norm", cfg)  # both parts share one norm
    added = fed_forward(y, own["feed_forward"])
    return x + normed_if(added, own, "feed_forward_out_norm", cfg)


def numpy_decoder(params, tokens, cfg):
    """The decoder written down in float64, with loops over layers and heads."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x = p["embed"]["embedding"][tokens] * (np.sqrt(cfg.width) if cfg.embedding_scaling else 1)
    if cfg.max_length:
        x = x + p["positions"]["embedding"][: len(tokens)]
    for layer in range(cfg.depth):
        path, numbers = next((path, numbers) for path, numbers in cfg.stacks if layer in numbers)
        stack = functools.reduce(dict.__getitem__, path.split("/"), p)
        row = numbers.index(layer)
        own = jax.tree.map(lambda leaf, row=row: leaf[row], stack)
        x = layer_of(x, own, cfg, cfg.global_every is None or (layer + 1) % cfg.global_every > 0)
    head = p.get("head", {})
    logits = normed(x, p["norm"], cfg) @ head.get("kernel", p["embed"]["embedding"].T)
    logits = logits + head.get("bias", 0)
    return cfg.logit_softcap * np.tanh(logits / cfg.logit_softcap) if cfg.logit_softcap else logits


SHAPES = {
    "plain": {"positions": "learned"},
    "gpt2": {
        "positions": "learned",
        "norm": "layer",
        "norm_bias": True,
        "norm_epsilon": 1e-3,
        "bias": "all",
        "tied": True,
    },
    "llama": {
        "activation": "swiglu",
        "heads": 6,
        "kv_heads": 2,
        "head_dim": 4,
        "positions.base": 100.0,
        "window": 5,
    },
    "gemma": {
        "positions": "alibi",
        "qk_norm": "rms",
        "attention_softcap": 2.0,
        "logit_softcap": 1.5,
        "kv_heads": 1,
    },
    "palm": {
        "parallel": True,
        "bias": "qkv",
        "qk_norm": "layer",
        "positions.scaling.name": "linear",
        "positions.scaling.factor": 3.0,
    },
    "gemma3": {
        "depth": 5,
        "window": 4,
        "global_every": 2,
        "positions.window_base": 30.0,
        "positions.scaling.name": "linear",
        "positions.scaling.factor": 3.0,
        "norm_position": "both",
        "embedding_scaling": True,
        "attention_scale": 0.2,
    },
    "neox": {
        "parallel": True,
        "parallel_norms": True,
        "norm": "layer",
        "norm_bias": True,
        "positions.share": 0.25,
        "bias": "feed_forward",
        "head_bias": True,
    },
    "olmo2": {
        "norm_position": "branch",
        "qk_norm": "rms",
        "qk_norm_over": "heads",
        "head_bias": True,
        "tied": True,
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_formulas(shape):
    model = tiny.model(**SHAPES[shape])
    params = tiny.random_params(model, Inputs(TOKENS))
    assert ("kernel" in params.get("head", {})) != model.cfg.tied
    assert (
        distance(
            logits_of(model, params)[0], numpy_decoder(params, np.asarray(TOKENS[0]), model.cfg)
        )
        < ROUNDING
    )


def test_a_window_as_wide_as_the_text_is_none():
    wide, none = tiny.model(window=LENGTH), tiny.model()
    params = tiny.random_params(none, Inputs(TOKENS))
    assert tiny.same_bits(logits_of(wide, params), logits_of(none, params))


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
    assert 0.8 < tiny.first_logits(model, Inputs(TOKENS)).std() < 1.2


def test_features_drop_only_where_a_key_is_given():
    model = tiny.model(dropout=0.5)
    params = tiny.random_params(model, Inputs(TOKENS))
    still = logits_of(model, params)
    assert tiny.same_bits(still, logits_of(tiny.model(), params))
    one, again, other = (logits_of(model, params, key=key) for key in (1, 1, 2))
    assert tiny.same_bits(one, again)
    assert distance(one, still) > 0.1
    assert distance(one, other) > 0.1


def test_a_half_precision_model_is_the_float32_one_rounded():
    model = tiny.model()
    params = tiny.random_params(model, Inputs(TOKENS))
    half = logits_of(model, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
    # Some ten roundings of 2^-9 a layer, of terms that partly cancel.
    assert distance(half, logits_of(model, params)) < 0.05


@pytest.mark.parametrize("scheme", ["rotary", "learned", "none"])
def test_order_is_seen_where_positions_are(scheme):
    model = tiny.model(positions=scheme, depth=1)
    params = tiny.random_params(model, Inputs(TOKENS))
    swapped = TOKENS.at[:, [0, 1]].set(TOKENS[:, [1, 0]])
    last = [logits_of(model, params, inputs=Inputs(tokens))[:, -1] for tokens in (TOKENS, swapped)]
    # One layer without positions sees the past as a bag.
    assert (distance(*last) < ROUNDING) == (scheme == "none")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"width": 10, "heads": 3},
            "width 10 is not divisible by heads 3; choose a multiple, or set head_dim",
        ),
        ({"heads": 6, "width": 12, "kv_heads": 4}, "heads 6 is not divisible by kv_heads 4"),
        (
            {"width": 6, "heads": 2},
            "rotary positions need an even width / heads or head_dim, not 3",
        ),
        ({"head_dim": 5}, "or head_dim, not 5"),
        ({"norm_bias": True}, "norm_bias is for norm layer"),
        ({"positions.share": 0.2, "head_dim": 16}, r"positions.share 0\.2 of 16 features is odd"),
        ({"global_every": 2}, "global_every is for models with a window"),
        ({"parallel_norms": True}, "parallel_norms is for parallel branches"),
        (
            {"parallel": True, "norm_position": "both"},
            "norm_position both is for branches one after another",
        ),
        ({"feed_forward.name": "experts", "feed_forward.count": 1}, "per_token 2 is above count 1"),
        ({"positions.scaling.factor": 2.0}, "factor is read with linear or llama3, not with none"),
        (
            {"positions.scaling.name": "linear", "positions.name": "none"},
            "scaling is read with rotary, not with none",
        ),
        (
            {"positions.scaling.name": "llama3", "positions.scaling.low_factor": 4.0},
            "low_factor 4.0 is not below",
        ),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        config_of(Config, changes, "config.model")


def test_geometry():
    assert Config(width=48, heads=3, depth=5).attention_geometry == (5, 3, 16)
    assert Config(width=48, heads=3, activation="swiglu").inner == 128
    assert Config(width=48, heads=3, head_dim=8).attention_geometry == (4, 3, 8)
    assert Config(width=48, heads=3, activation="geglu").inner == 128
    assert Config(width=48, heads=3, activation="relu").inner == 192
    assert Config(width=48, heads=3).inner == 192
    assert Config(width=48, heads=3, feed_forward_dim=7).inner == 7


MIXTURE = {
    "feed_forward.name": "experts",
    "feed_forward.count": 4,
    "feed_forward.per_token": 2,
    "feed_forward_dim": 24,
}


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_a_mixture_costs_what_its_active_parameters_do(activation):
    model = tiny.model(
        **MIXTURE,
        **{"feed_forward.kernel": "ragged"},
        activation=activation,
        attention_kernel="plain",
    )
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), Inputs(TOKENS))["params"])
    groups, params = by_group(boxed, 2), unbox(boxed)
    expert = (3 if activation == "swiglu" else 2) * WIDTH * 24
    assert groups["total"] - groups["active"] == DEPTH * 2 * expert
    assert groups["feed_forward"] == DEPTH * (4 * expert + WIDTH * 4)
    assert groups["matmul_body"] == DEPTH * (4 * WIDTH**2 + 2 * expert + WIDTH * 4)
    shape = conventions.geometry(groups, LENGTH, *model.cfg.attention_geometry)
    counted = flops.count(
        jax.value_and_grad(lambda p: model.apply({"params": p}, Inputs(TOKENS)).sum()), params
    )
    assert counted.total == TOKENS.size * conventions.per_token(shape)["palm"]


def test_layers_without_a_window_cost_and_count_what_the_others_do():
    model = tiny.model(
        depth=5, window=4, global_every=2, norm_position="both", attention_kernel="plain"
    )
    params = jax.eval_shape(lambda: unbox(model.init(jax.random.key(0), Inputs(TOKENS))["params"]))
    groups = by_group(params)
    assert groups["matmul_body"] == conventions.transformer_body(WIDTH, 5)
    assert (groups["norm"], groups["other"]) == ((5 * 4 + 1) * WIDTH, 0)
    shape = conventions.geometry(groups, LENGTH, *model.cfg.attention_geometry)
    counted = flops.count(
        jax.value_and_grad(lambda p: model.apply({"params": p}, Inputs(TOKENS)).sum()), params
    )
    assert counted.total == TOKENS.size * conventions.per_token(shape)["palm"]


def test_microbatches_of_a_mixture_add_up_to_the_whole_with_its_penalty():
    model = tiny.model(**MIXTURE, **{"feed_forward.balance_weight": 0.5})
    objective = causal.make(causal.Config(), LENGTH, Vocabulary(VOCAB, 0, None, None))
    segments = jnp.where(jnp.arange(LENGTH + 1) < jnp.arange(4, 4 + tiny.ROWS)[:, None], 1, 0)
    batch = objective.prepare(jax.random.key(0), tiny.examples(segments=segments))
    params = tiny.params_of(model, batch.inputs)
    whole = step.gradients(model, objective, "float32")
    summed = jax.jit(whole)(params, batch, jax.random.key(0))
    parts = jax.jit(step.accumulate(whole, 4))(params, batch, jax.random.key(0))
    assert distance(parts, summed) < ROUNDING
    sums = summed[1][0]
    apply = jax.jit(lambda *given: model.apply(*given, mutable=["losses"]))
    logits, sown = apply({"params": params}, batch.inputs)
    by_row = jax.tree.leaves(sown)[0].sum(0)
    assert distance(sums["penalty"], by_row @ batch.weights.sum(1)) < ROUNDING
    assert distance(sums["nll"], objective.loss(logits, batch)["nll"]) < ROUNDING
