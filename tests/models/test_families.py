"""The contract of a family, stated for every module of lm_lab/models."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lm_lab import generation, registry, schema
from lm_lab.engine import sharding
from lm_lab.nn.roles import part_of
from lm_lab.types import Inputs
from tests import tiny
from tests.tiny import CONTEXT, LENGTH, ROUNDING, VOCAB, WIDTH, distance

FAMILIES = registry.names("models")


def contract_of(family):
    return registry.load("models", family, "family")


def config_of(family):
    return contract_of(family).Config


def scope_of(family, changes):
    return contract_of(family).scope_of(tiny.model(family, **changes).cfg)


def choices(family, field):
    """The names of the options of a choice, where the family has it."""
    fields = {each.name: each for each in dataclasses.fields(config_of(family))}
    return tuple(fields[field].metadata["options"]) if field in fields else ()


def has(family, *fields):
    return {field.name for field in dataclasses.fields(config_of(family))}.issuperset(fields)


HYBRID = {"attention_every": 2, "window": LENGTH // 3}


# Schemes that are tried where attention is one layer of two: of each kind one.
FEW = {"state_space": ("alibi", "sinusoidal")}


def variants(family):
    """The family as it is by default, and with every other option of a choice that its laws may
    depend on.
    """
    default = schema.plain(tiny.model(family).cfg)
    names = ("positions", "feed_forward", "block")
    changes = [
        {name: option}
        for name in names
        for option in choices(family, name)
        if option != default[name]["name"]
        and (name != "positions" or option in FEW.get(family, (option,)))
    ]
    hybrid = HYBRID if has(family, *HYBRID) else {}  # layers that mix with attention
    return [{}, *(change | hybrid for change in changes)]


def named(pairs):
    """The pairs, under names such as decoder-positions=alibi."""
    return [
        pytest.param(
            *pair, id="-".join([pair[0], *(f"{name}={value}" for name, value in pair[1].items())])
        )
        for pair in pairs
    ]


ALL_VARIANTS = [(family, changes) for family in FAMILIES for changes in variants(family)]
VARIANTS = named(ALL_VARIANTS)
PAST = named([pair for pair in ALL_VARIANTS if scope_of(*pair) == "causal"])
ALL = named([pair for pair in ALL_VARIANTS if scope_of(*pair) == "bidirectional"])
CONTEXT_READERS = named([pair for pair in ALL_VARIANTS if contract_of(pair[0]).needs_context])
PATTERN = {"depth": 3, "window": LENGTH // 3, "global_every": 2}
WINDOWS = {"window": {"window": LENGTH // 3}, "pattern": PATTERN}
GENERATIVE = PAST + [
    pytest.param(family, changes, id=f"{family}-{name}")
    for family in FAMILIES
    for name, changes in WINDOWS.items()
    if has(family, *changes) and scope_of(family, {}) == "causal"
]
LAYERS = named(
    [pair for pair in ALL_VARIANTS if "positions" not in pair[1]]
)  # which differ in what a layer is


def built(family, seed=0, rows=1, **changes):
    """(model, params, tokens): a tiny one, and rows of text with no token twice, nor one of a
    context.
    """
    return _built(family, seed, rows, tuple(changes.items()))


@cache
def _built(family, seed, rows, changes):
    model = tiny.model(family, **dict(changes))
    tokens = jnp.asarray(
        [np.random.default_rng(seed + row).permutation(VOCAB // 2)[:LENGTH] for row in range(rows)]
    )
    return model, tiny.params_of(model, tiny.inputs(family, tokens)), tokens.astype(jnp.int32)


def is_embedding(path):
    return part_of(jax.tree_util.keystr(path, simple=True, separator="/").split("/")) == "embedding"


def influence(family, changes):
    """[L L] and [L M]: of the token, and of the token of the context, at column on the feature at
    row.
    """
    model, params, tokens = built(family, **changes)
    probe = jax.random.normal(jax.random.key(1), (WIDTH,))
    tables = [
        leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_embedding(path)
    ]
    assert [table.shape for table in tables] == [(VOCAB, WIDTH)]

    def features(table):
        filled = jax.tree_util.tree_map_with_path(
            lambda path, leaf: table if is_embedding(path) else leaf, params
        )
        return (
            model.apply({"params": filled}, tiny.inputs(family, tokens), method="features")[0]
            @ probe
        )

    by_row = np.asarray(
        jax.jit(jax.jacrev(features))(tables[0])
    )  # [L V D]: no token stands twice, so a row is a place
    context = tiny.inputs(family, tokens).context
    read = [tokens[0], jnp.zeros(0, int) if context is None else context[0]]
    return [np.abs(by_row[:, np.asarray(ids)]).sum(-1) for ids in read]


@pytest.mark.parametrize("family, changes", PAST)
def test_a_feature_sees_all_the_past_and_nothing_of_the_future(family, changes):
    past = np.tril(np.ones((LENGTH, LENGTH), bool))
    found, of_context = influence(family, changes)
    assert (found[~past] == 0).all()
    assert (found[past] > 0).all()
    assert (of_context > 0).all()


@pytest.mark.parametrize("family, changes", ALL)
def test_a_feature_sees_the_whole_text_where_the_family_says_so(family, changes):
    assert (influence(family, changes)[0] > 0).all()


@pytest.mark.parametrize("family, changes", VARIANTS)
def test_padding_the_future_and_other_documents_change_nothing(family, changes):
    """Laws of one text, which share their compiled programs."""
    model, params, tokens = built(family, **changes)
    plain = jax.jit(lambda tokens: model.apply({"params": params}, tiny.inputs(family, tokens)))
    logits = jax.jit(
        lambda tokens, *where: model.apply({"params": params}, tiny.inputs(family, tokens, *where))
    )
    places, length = jnp.arange(LENGTH)[None], 9

    def padded(text):
        """The text with a token of another document in the place of padding."""
        wide = jnp.pad(text, ((0, 0), (0, LENGTH - text.shape[1])), constant_values=tokens[0, 0])
        real = (places < text.shape[1]).astype(jnp.int32)
        return logits(wide, real, places * real)[:, : text.shape[1]]

    # Padding on the right changes nothing but itself, and what stands there no bit.
    real = (places < length).astype(jnp.int32)
    other = logits(tokens.at[:, length:].set(tokens[:, :1]), real, places)
    assert tiny.same_bits(logits(tokens, real, places)[:, :length], other[:, :length])
    assert distance(padded(tokens[:, :length]), plain(tokens[:, :length])) < ROUNDING
    # Another future changes no bit.
    if scope_of(family, changes) == "causal":
        for place in (1, LENGTH // 2, LENGTH - 1):
            changed = plain(tokens.at[:, place:].set((tokens[:, place:] + 1) % VOCAB))
            assert tiny.same_bits(plain(tokens)[:, :place], changed[:, :place])
    # Documents of a row do not see each other: each has the logits that it has alone.
    cut = 6
    segments, positions = jnp.where(places < cut, 1, 2), places - cut * (places >= cut)
    packed = logits(tokens, segments, positions)
    changed = logits(tokens.at[:, :cut].set((tokens[:, :cut] + 1) % VOCAB), segments, positions)
    assert tiny.same_bits(packed[:, cut:], changed[:, cut:])
    assert distance(packed[:, :cut], padded(tokens[:, :cut])) < ROUNDING
    assert distance(packed[:, cut:], padded(tokens[:, cut:])) < ROUNDING


@pytest.mark.parametrize("family, changes", CONTEXT_READERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_a_context_changes_nothing(family, changes, side):
    model, params, tokens = built(family, **changes)
    kept = slice(4, None) if side == "left" else slice(0, CONTEXT - 4)
    segments = jnp.zeros((1, CONTEXT), jnp.int32).at[:, kept].set(1)
    inputs = tiny.inputs(family, tokens, context_segments=segments)
    logits = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    other = inputs._replace(context=jnp.where(segments > 0, inputs.context, 0))
    assert tiny.same_bits(logits(inputs), logits(other))
    alone = logits(inputs._replace(context=inputs.context[:, kept], context_segments=None))
    assert distance(logits(inputs), alone) < ROUNDING


@pytest.mark.parametrize("family, changes", CONTEXT_READERS)
def test_documents_of_a_row_see_their_own_contexts_alone(family, changes):
    model, params, tokens = built(family, **changes)
    cut, context_cut = 6, 4
    segments, context_segments = (
        jnp.where(jnp.arange(length) < own, 1, 2)[None]
        for length, own in ((LENGTH, cut), (CONTEXT, context_cut))
    )
    positions = jnp.where(jnp.arange(LENGTH) < cut, jnp.arange(LENGTH), jnp.arange(LENGTH) - cut)[
        None
    ]
    inputs = tiny.inputs(family, tokens, segments, positions, context_segments=context_segments)
    logits = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    packed = logits(inputs)
    changed = logits(inputs._replace(context=inputs.context.at[:, :context_cut].set(0)))
    assert tiny.same_bits(packed[:, cut:], changed[:, cut:])
    assert distance(packed[:, :cut], changed[:, :cut]) > 1e-3
    for text, context in (
        (slice(0, cut), slice(0, context_cut)),
        (slice(cut, None), slice(context_cut, None)),
    ):
        alone = logits(Inputs(tokens[:, text], context=inputs.context[:, context]))
        assert distance(packed[:, text], alone) < ROUNDING


RAGGED = (5, LENGTH - 6, 1)  # lengths of prompts that are continued together
RAGGED_CONTEXTS = jnp.asarray([CONTEXT - 4, 2, CONTEXT])[:, None]


@pytest.mark.parametrize("family, changes", GENERATIVE)
def test_cached_steps_give_the_logits_of_the_full_pass(family, changes):
    model, params, tokens = built(family, rows=len(RAGGED), **changes)
    inputs = tiny.inputs(
        family, tokens, context_segments=(jnp.arange(CONTEXT) < RAGGED_CONTEXTS).astype(jnp.int32)
    )
    whole = jax.jit(lambda inputs: model.apply({"params": params}, inputs))(inputs)
    longest = max(RAGGED)
    padding = jnp.asarray([longest - length for length in RAGGED])[:, None]
    # Row r of the padded text is tokens[r], moved to the right by its padding.
    places = jnp.arange(LENGTH) - padding
    padded = Inputs(
        jnp.take_along_axis(tokens, places.clip(0), 1),
        (places >= 0).astype(jnp.int32),
        places.clip(0).astype(jnp.int32),
    )
    variables = {"params": params}
    advance = jax.jit(lambda cache, inputs: generation.advance(model, variables, cache, inputs))
    context = {"context": inputs.context, "context_segments": inputs.context_segments}
    cache, parts = generation.init_cache(model, variables, padded._replace(**context)), []
    for begin, end in [(0, longest), *((place, place + 1) for place in range(longest, LENGTH))]:
        piece = jax.tree.map(lambda x, b=begin, e=end: x[:, b:e], padded)
        logits, cache = advance(cache, piece._replace(**context) if begin == 0 else piece)
        parts.append(logits)
    cached = jnp.concatenate(parts, 1)
    for row, moved in enumerate(padding[:, 0]):
        assert distance(cached[row, moved:], whole[row, : LENGTH - int(moved)]) < ROUNDING


def loss_and_gradient(family, changes, **how):
    _, params, tokens = built(family, rows=2, **changes)
    model = tiny.model(family, **changes, **how)
    rngs = {"dropout": jax.random.key(0)}

    def loss(params):
        logits = model.apply({"params": params}, tiny.inputs(family, tokens[:, :-1]), rngs=rngs)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], -1).sum()

    return without_key_biases(jax.jit(jax.value_and_grad(loss))(params))


def without_key_biases(tree):
    """Softmax takes no notice of what all keys share: its gradient is 0 but for rounding, a share
    of nothing.
    """

    def kept(path, leaf):
        return (
            0 * leaf
            if jax.tree_util.keystr(path, simple=True, separator="/").endswith("/key/bias")
            else leaf
        )

    return jax.tree_util.tree_map_with_path(kept, tree)


@pytest.mark.parametrize(
    "family, changes", [pair for pair in LAYERS if has(pair.values[0], "scan", "remat", "dropout")]
)
def test_depth_scanned_unrolled_or_recomputed_is_one_function(family, changes):
    usual = loss_and_gradient(family, changes, dropout=0.3, scan=False)
    for how in ({"scan": True}, {"remat": "full"}, {"scan": True, "remat": "dots"}):
        assert distance(loss_and_gradient(family, changes, dropout=0.3, **how), usual) < ROUNDING


@pytest.mark.skipif(jax.device_count() < 8, reason="needs the 8 virtual devices of the suite")
@pytest.mark.parametrize("family, changes", LAYERS)
def test_sharded_is_single(family, changes):
    model, params, tokens = built(family, rows=8, **changes)
    mesh = sharding.make_mesh(sharding.Config(data=2, fsdp=2, tensor=2))
    boxed = jax.eval_shape(
        lambda: model.init(jax.random.key(0), tiny.inputs(family, tokens))["params"]
    )
    weights = jax.random.normal(jax.random.key(1), (8, LENGTH, VOCAB))

    def loss(params, tokens):
        logits = model.apply({"params": params}, tiny.inputs(family, tokens))
        return (logits * weights).sum(), logits  # the sum itself cancels to a few of its terms

    alone = jax.jit(jax.grad(loss, has_aux=True))(params, tokens)
    with sharding.use(mesh):
        rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
        placed = (sharding.state_shardings(mesh, boxed), rows)
        with sharding.rules(mesh):
            shared = jax.jit(jax.grad(loss, has_aux=True), in_shardings=placed)(params, tokens)
    assert distance(without_key_biases(shared), without_key_biases(alone)) < ROUNDING


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_dtypes(family):
    model, params, tokens = built(family, rows=3)
    for dtype in (jnp.float32, jnp.bfloat16):
        cast = {"params": jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), params)}
        features = jax.eval_shape(
            lambda cast=cast: model.apply(cast, tiny.inputs(family, tokens), method="features")
        )
        logits = jax.eval_shape(lambda cast=cast: model.apply(cast, tiny.inputs(family, tokens)))
        assert (features.shape, features.dtype) == ((3, LENGTH, WIDTH), dtype)
        assert (logits.shape, logits.dtype) == ((3, LENGTH, VOCAB), jnp.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_readout_of_the_features(family):
    model, params, tokens = built(family)
    features, readout, whole = (
        jax.jit(lambda given, method=method: model.apply({"params": params}, given, method=method))
        for method in ("features", "readout", "__call__")
    )
    inputs = tiny.inputs(family, tokens)
    assert distance(readout(features(inputs)), whole(inputs)) < ROUNDING


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_documented(family):
    for field in dataclasses.fields(config_of(family)):
        assert field.metadata["doc"], field.name
