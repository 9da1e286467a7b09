"""The laws of a family (lm_lab/laws), and those of the engine that a family must keep, for every
module of lm_lab/models.
"""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lm_lab import registry
from lm_lab.engine import sharding
from lm_lab.laws import models as laws
from lm_lab.laws import settings
from lm_lab.plain import plain
from tests import tiny
from tests.tiny import LENGTH, ROUNDING, VOCAB, WIDTH, distance

FAMILIES = registry.names("models")


def contract_of(family):
    return registry.load("models", family, "family")


def config_of(family):
    return contract_of(family).Config


def choices(family, field):
    """The names of the options of a choice, where the family has it."""
    fields = {each.name: each for each in dataclasses.fields(config_of(family))}
    return tuple(fields[field].metadata["options"]) if field in fields else ()


def has(family, *fields):
    return {field.name for field in dataclasses.fields(config_of(family))}.issuperset(fields)


HYBRID = {"attention_every": 2, "window": LENGTH // 3}


# Of each kind of scheme (table, rotation, bias) one is tried where all are tried elsewhere: the
# decoder has them all. Other layers than dense ones repeat and divide alike in all that have them.
FEW = {
    "encoder": ("rotary", "alibi", "relative"),
    "encoder_decoder": ("learned", "rotary"),
    "state_space": ("alibi", "sinusoidal"),
}


def variants(family):
    """The family as it is by default, and with every other option of a choice that its laws may
    depend on.
    """
    default = plain(tiny.model(family).cfg)
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


VARIANTS = [(family, changes) for family in FAMILIES for changes in variants(family)]
LAYERS = [  # which differ in what a layer is
    (family, changes)
    for family, changes in VARIANTS
    if "positions" not in changes and (family == "decoder" or "feed_forward" not in changes)
]
# (family, what it chooses, the beginnings of keys that are read with it alone)
CHOSEN = [
    ("decoder", {"feed_forward": "experts", "positions": "relative"}, ("feed_forward.", "positi")),
    ("decoder", {"positions": {"scaling": "llama3"}, "window": 5}, ("positions.", "global_every")),
    (
        "decoder",
        {"positions": "learned", "parallel": True, "qk_norm": "rms"},
        ("length", "pa", "q"),
    ),
    ("state_space", HYBRID | {"block": "rg_lru"}, ("heads", "kv_heads", "window", "positions")),
]
# Layers with a window, and without; those of hybrids are among the variants.
PATTERN = {"depth": 3, "window": LENGTH // 3, "global_every": 2}
WINDOWS = [
    (family, PATTERN)
    for family in FAMILIES
    if has(family, *PATTERN) and contract_of(family).scope_of(config_of(family)()) == "causal"
]


@cache
def _subject(family, changes):
    compiles_faster = {"scan": True} if has(family, "scan") else {}
    made = laws.subject(contract_of(family), compiles_faster | dict(changes))
    return dataclasses.replace(made, leak=0.0)


def subject(family, changes):
    """The family with these settings, of which nothing may leak: not a bit."""
    return _subject(family, tuple(changes.items()))


@pytest.mark.gpu
@pytest.mark.parametrize("family, changes", named(VARIANTS))
def test_the_laws_of_a_family(family, changes):
    tried = subject(family, changes)
    found = laws.laws(tried)
    # Scanned or not, and settings: below. Dropout is of the layer around all of these, and a scheme
    # of positions has no gradient of its own.
    left_out = {laws.scan, laws.settings} | ({laws.dropout} if changes else set())
    left_out |= {laws.gradients} if "positions" in changes else set()
    assert len(found) >= 7
    for law in found:
        if law not in left_out:
            law(tried)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_that_is_accepted_is_read(family):
    laws.settings(subject(family, {}))


@pytest.mark.parametrize("family, changes, keys", CHOSEN)
def test_every_setting_of_what_is_chosen_is_read(family, changes, keys):
    tried = laws.subject(contract_of(family), changes | {"scan": True})
    found = [pair for pair in settings.others(tried.config) if pair[0].startswith(keys)]
    assert all(any(key.startswith(start) for key, _ in found) for start in keys)
    settings.check(tried, found)


@pytest.mark.parametrize("family, changes", named(VARIANTS))
def test_a_token_sees_all_that_its_family_says(family, changes):
    tried = subject(family, changes)
    seen = {
        "causal": np.tril(np.ones((LENGTH, LENGTH))),
        "bidirectional": np.ones((LENGTH, LENGTH)),
        "unordered": np.eye(LENGTH),
    }[tried.scope]
    assert ((tried.influence > 0) == seen).all()


@pytest.mark.gpu
@pytest.mark.parametrize("family, changes", named(WINDOWS))
def test_cached_steps_of_windows_give_the_logits_of_the_full_pass(family, changes):
    laws.decoding(subject(family, changes))


def gradient(family, changes, mesh=None, **how):
    """Of a weighted sum of the logits, with them: a sum alone cancels to a few of its terms."""
    tried = subject(family, changes)
    model = type(tried.model)(dataclasses.replace(tried.config, **how))
    tokens = jnp.tile(tried.inputs.tokens, (4, 1))
    given = tiny.inputs(family, tokens)
    weights = tiny.normal(*tokens.shape, VOCAB)
    rngs = {"dropout": jax.random.key(0)}

    def loss(params, given):
        logits = model.apply({"params": params}, given, rngs=rngs)
        return (logits * weights).sum(), logits

    run = partial(jax.jit, jax.grad(loss, has_aux=True))
    params = tried.variables["params"]
    if mesh is None:
        return without_key_biases(run()(params, given))
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), given)["params"])
    with sharding.use(mesh):
        rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
        placed = (sharding.params_shardings(mesh, boxed), rows)
        shared = run(in_shardings=placed)(params, given)
    return without_key_biases(shared)


def without_key_biases(tree):
    """Softmax takes no notice of what all keys share: its gradient is 0 but for rounding, a share
    of nothing.
    """

    def kept(path, leaf):
        return (
            0 * np.asarray(leaf)
            if jax.tree_util.keystr(path, simple=True, separator="/").endswith("/key/bias")
            else leaf
        )

    return jax.tree_util.tree_map_with_path(kept, tree)


@pytest.mark.parametrize("family, changes", named(LAYERS))
def test_depth_scanned_unrolled_or_recomputed_and_devices_are_one_function(family, changes):
    dropout = {"dropout": 0.3} if has(family, "dropout") else {}
    recomputed = has(family, "scan", "remat") and not changes
    unrolled = {"scan": False} if has(family, "scan") else {}
    unrolled |= {"remat": "full"} if recomputed else {}
    usual = gradient(family, changes, **dropout, **unrolled)
    # Scanned, on devices and recomputed: three laws of one program, as compiling is the cost.
    hows = [({"remat": "dots"} if recomputed else {}, eight_devices())]
    hows += [({}, None)] if recomputed and family == "decoder" else []
    for how, mesh in hows:
        found = gradient(family, changes, mesh, **dropout, **how)
        assert distance(found, usual) < ROUNDING, (how, mesh)


def eight_devices():
    """Every axis of the mesh twice, on the virtual devices of the suite; None where they are not
    there.
    """
    if jax.device_count() < 8:
        return None
    return sharding.make_mesh(sharding.Config(data=2, fsdp=2, tensor=2))


# Where they are causal, the law of decoding says it: a cached step reads features out.
NOT_CAUSAL = [
    family for family in FAMILIES if contract_of(family).scope_of(config_of(family)()) != "causal"
]


@pytest.mark.parametrize("family", NOT_CAUSAL)
def test_logits_are_the_readout_of_the_features(family):
    tried = subject(family, {})

    @jax.jit
    def in_two(variables, inputs):
        features = tried.model.apply(variables, inputs, method="features")
        return features, tried.model.apply(variables, features, method="readout")

    features, logits = in_two(tried.variables, tried.inputs)
    assert features.shape == (laws.ROWS, LENGTH, WIDTH)
    assert distance(logits, tried.run(tried.inputs)) < ROUNDING


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_documented(family):
    for field in dataclasses.fields(config_of(family)):
        assert field.metadata["doc"], field.name
