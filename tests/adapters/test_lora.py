"""The laws of low-rank adapters, on every family, and on a decoder where one is enough."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab import registry
from lm_lab.adapters import lora
from lm_lab.models import encoder_decoder
from lm_lab.nn.trees import flatten, unflatten
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import DEPTH, ROUNDING, WIDTH, distance, same_bits

FAMILIES = [
    name for name in registry.names("models") if name != "word2vec"
]  # which has look-ups alone, and no kernel
CONFIG = lora.Config(rank=3, alpha=6.0)
VARIANTS = [CONFIG, replace(CONFIG, scaling="root_rank"), replace(CONFIG, dora=True)]


def inputs_of(model):
    tokens = tiny.tokens()
    return Inputs(
        tokens, context=tokens[:, ::-1] if isinstance(model.cfg, encoder_decoder.Config) else None
    )


@cache
def built(family="decoder"):
    model = tiny.model(family)
    return model, tiny.params_of(model, inputs_of(model))


def trained(config, params, seed=1, change=0.3):
    """Adapters as training leaves them: nothing is 0, and lengths have changed."""
    adapters = lora.init(jax.random.key(seed), config, params)
    return jax.tree.map(lambda x: x + change * tiny.normal(*x.shape, seed=seed + x.size), adapters)


UNFUSED = {
    "xla_disable_hlo_passes": "fusion"
}  # XLA may fuse a sum with another term in another way, which rounds otherwise


def apply(model, params, collection=None, options=None, **more):
    variables = {"params": params} | ({} if collection is None else {"lora": collection})
    function = jax.jit(
        lambda variables: model.apply(variables, inputs_of(model), **more), compiler_options=options
    )
    return function(variables)


def alone(config, adapters, **more):
    return lora.collection({"own": config}, {"own": adapters}, **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_begins_as_the_identity_and_every_part_of_it_then_matters(family):
    model, params = built(family)
    adapters = lora.init(jax.random.key(0), CONFIG, params)
    pair = [
        apply(model, params, collection, options=UNFUSED)
        for collection in (alone(CONFIG, adapters), None)
    ]
    assert same_bits(*pair)
    grown = trained(CONFIG, params)

    def loss(adapters):
        logits = model.apply({"params": params, "lora": alone(CONFIG, adapters)}, inputs_of(model))
        return (logits**2 * jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)).sum()

    for path, gradient in flatten(jax.jit(jax.grad(loss))(grown)).items():
        assert np.isfinite(gradient).all(), path
        layers = gradient.shape[0] if path.startswith("layers") else 1
        assert np.abs(gradient).reshape(layers, -1).any(-1).all(), path


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_is_applied(family):
    model, params = built(family)
    for config in (CONFIG, replace(CONFIG, dora=True)):
        # Larger changes saturate the softmax of encoder_decoder, whose scores nothing scales, and a
        # saturated softmax multiplies the roundings of its scores. At 0.1 the logits change by a
        # third of the largest of them, or more.
        adapters = trained(config, params, change=0.1)
        merged, _ = lora.merge(config, adapters, params)
        applied = apply(model, params, alone(config, adapters))
        assert distance(apply(model, merged), applied) < ROUNDING


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_unmerging_restores(config):
    _, params = built()
    adapters = trained(config, params)
    merged, lengths = lora.merge(config, adapters, params)
    assert distance(merged["layers"], params["layers"]) > 0.1
    assert distance(lora.unmerge(config, adapters, merged, lengths), params) < ROUNDING


def test_dora_begins_as_the_identity_to_rounding_and_keeps_the_lengths():
    model, params = built()
    config = VARIANTS[2]
    adapters = lora.init(jax.random.key(0), config, params)
    assert distance(apply(model, params, alone(config, adapters)), apply(model, params)) < ROUNDING
    grown = trained(CONFIG, params) | {}
    lengths = {path: leaf for path, leaf in flatten(adapters).items() if path.endswith("magnitude")}
    merged, _ = lora.merge(config, unflatten(flatten(grown) | lengths), params)
    for path, length in lengths.items():
        kernel = flatten(merged)[path.replace("magnitude", "kernel")]
        np.testing.assert_allclose(jnp.linalg.norm(kernel, axis=-2), length, rtol=ROUNDING)


def test_the_length_is_a_constant_to_doras_gradient():
    model, params = built()
    config = replace(VARIANTS[2], targets=("attention/query",))
    adapters = trained(config, params)

    def of_kernel(kernel_of):
        def loss(adapters):
            query = adapters["layers"]["attention"]["query"]
            kernel = params["layers"]["attention"]["query"]["kernel"]
            changed = flatten(params) | {"layers/attention/query/kernel": kernel_of(kernel, query)}
            return (model.apply({"params": unflatten(changed)}, inputs_of(model)) ** 2).sum()

        return jax.jit(jax.grad(loss))(adapters)

    def written_out(kernel, own):
        adapted = kernel + 2.0 * own["down_kernel"] @ own["up_kernel"]
        length = jax.lax.stop_gradient(jnp.linalg.norm(adapted, axis=-2))
        return adapted * (own["magnitude"] / length)[:, None]

    def applied(adapters):
        return (
            model.apply({"params": params, "lora": alone(config, adapters)}, inputs_of(model)) ** 2
        ).sum()

    assert distance(jax.jit(jax.grad(applied))(adapters), of_kernel(written_out)) < 10 * ROUNDING


def test_scanned_unrolled_and_recomputed_are_one_function():
    params = built()[1]
    config = replace(CONFIG, dropout=0.4, dora=True)
    collection = alone(config, trained(config, params))
    rngs = {"dropout": jax.random.key(3)}
    usual = apply(tiny.model(), params, collection, rngs=rngs)
    for name, value in (("scan", False), ("remat", "full"), ("remat", "dots")):
        assert (
            distance(
                apply(tiny.model("decoder", **{name: value}), params, collection, rngs=rngs), usual
            )
            < ROUNDING
        )


def test_dropout_is_of_the_adapters_input_alone_and_only_with_a_key():
    model, params = built()
    config = replace(CONFIG, dropout=0.5)
    adapters, key = trained(config, params), {"dropout": jax.random.key(0)}
    assert same_bits(
        apply(model, params, alone(config, adapters)), apply(model, params, alone(CONFIG, adapters))
    )
    dropped = apply(model, params, alone(config, adapters), rngs=key)
    assert distance(dropped, apply(model, params, alone(config, adapters))) > 1e-3
    fresh = lora.init(jax.random.key(0), config, params)
    assert same_bits(apply(model, params, alone(config, fresh), rngs=key), apply(model, params))


def test_named_adapters_add_up_and_are_switched_by_a_mask():
    model, params = built()
    configs = {
        "one": CONFIG,
        "two": VARIANTS[1],
        "three": replace(CONFIG, rank=2, targets=("query",)),
    }
    adapters = {
        name: trained(config, params, seed) for seed, (name, config) in enumerate(configs.items())
    }
    both, _ = lora.merge(configs["one"], adapters["one"], params)
    both, _ = lora.merge(configs["two"], adapters["two"], both)
    sum_of_two = apply(model, params, lora.collection(configs, adapters, {"one": 1.0, "two": 1.0}))
    assert distance(sum_of_two, apply(model, both)) < 5 * ROUNDING

    @jax.jit
    def masked(mask):
        collection = lora.collection(configs, adapters, dict(zip(configs, mask)))
        return model.apply({"params": params, "lora": collection}, inputs_of(model))

    assert distance(masked(jnp.asarray([1.0, 1.0, 0.0])), sum_of_two) < ROUNDING
    assert same_bits(masked(jnp.zeros(3)), apply(model, params))
    one = apply(model, params, alone(CONFIG, adapters["one"]))
    members = jax.vmap(masked)(jnp.eye(3))
    assert distance(members[0], one) < ROUNDING


def test_a_count_is_its_closed_form():
    _, params = built()
    adapters = lora.init(jax.random.key(0), CONFIG, params)
    wide = 4 * WIDTH
    closed = DEPTH * 3 * (4 * (WIDTH + WIDTH) + 2 * (WIDTH + wide))
    assert lora.count(adapters) == {"parameters": closed, "bytes": 4 * closed}
    with_lengths = lora.init(jax.random.key(0), VARIANTS[2], params)
    assert lora.count(with_lengths)["parameters"] == closed + DEPTH * (4 * WIDTH + wide + WIDTH)


def test_a_merge_into_bfloat16_says_what_it_loses():
    # W is N(0, 1/in) and the delta 1 % of it: bfloat16 has 8 bits, so rounding errs uniformly by up
    # to 2^-9 of the power of two below W, 0.16 % of W in root mean square, 16 % of the delta;
    # float32 loses 2^-16 of that.
    kernel = tiny.normal(256, 256) / 16
    down = tiny.normal(256, 4, seed=1) / 16
    up = tiny.normal(4, 256, seed=2) * 0.01 / 2
    adapters = {"layer": {"down_kernel": down, "up_kernel": up}}
    config = lora.Config(rank=4, alpha=4.0)
    halved = {"layer": {"kernel": kernel.astype(jnp.bfloat16)}}
    assert lora.merge_error(config, adapters, halved) == pytest.approx(0.16, abs=0.03)
    assert lora.merge_error(config, adapters, {"layer": {"kernel": kernel}}) < 1e-5
    assert lora.merge(config, adapters, halved)[0]["layer"]["kernel"].dtype == jnp.bfloat16


MIXED = replace(CONFIG, ranks=("query/1=1", "key=2", "up/0=0"), alphas=("value/0=9", "query=1"))
ATTENTION = tuple(f"layers/attention/{name}" for name in ("query", "value"))
SHARED = replace(CONFIG, shared=(ATTENTION,))


@pytest.mark.parametrize("config", [MIXED, SHARED], ids=["ranks and alphas", "shared"])
def test_layers_of_other_ranks_and_alphas_and_of_one_input_are_merged_as_they_are_applied(config):
    model, params = built()
    adapters = lora.init(jax.random.key(0), config, params)
    grown = jax.tree.map(lambda x: jnp.where(x == 0, x, x + 0.3), adapters) | {}
    ups = {path: leaf + 0.2 for path, leaf in flatten(grown).items() if path.endswith("up_kernel")}
    grown = unflatten(flatten(grown) | ups)
    merged, lengths = lora.merge(config, grown, params)
    assert distance(apply(model, merged), apply(model, params, alone(config, grown))) < 5 * ROUNDING
    assert distance(lora.unmerge(config, grown, merged, lengths), params) < ROUNDING


def test_ranks_and_alphas_are_those_of_each_layer():
    attention = lora.init(jax.random.key(0), MIXED, built()[1])["layers"]["attention"]
    assert (attention["query"]["down_kernel"] != 0).any(1).tolist() == [
        [True] * 3,
        [True, False, False],
    ]
    assert attention["key"]["up_kernel"].shape[1] == 2
    assert MIXED.scales_of("layers/attention/value", DEPTH).tolist() == [3.0, 2.0]
    assert MIXED.scales_of("layers/attention/query", DEPTH).tolist() == [1 / 3, 1.0]
    assert lora.count(lora.init(jax.random.key(0), SHARED, built()[1]))["parameters"] == (
        lora.count(lora.init(jax.random.key(0), CONFIG, built()[1]))["parameters"]
        - DEPTH * WIDTH * CONFIG.rank
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"ranks": ("query",)}, "ranks has 'query'; it is a list of 'pattern=number'"),
        ({"ranks": ("query=1.5",)}, "ranks has 'query=1.5'"),
        ({"alphas": ("query=-1",)}, "alphas has 'query=-1'"),
        ({"alphas": ("quary=1",)}, "config.adapter.alphas: 'quary=1' is of no adapted layer"),
        ({"shared": (("layers/attention/query",),)}, "shared must be groups of two paths or more"),
        (
            {"shared": (("layers/attention/query", "query"),)},
            "config.adapter.shared: query is not adapted",
        ),
        (
            {"shared": (ATTENTION,), "ranks": ("query=1",)},
            "layers/attention/value has other inputs or another rank",
        ),
    ],
)
def test_settings_of_single_layers_that_cannot_be_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        lora.init(jax.random.key(0), replace(CONFIG, **changes), built()[1])


def test_mistakes_are_named():
    _, params = built()
    with pytest.raises(
        UserError, match=r"config.adapter.targets: no parameters match 'quary'; .*attention/query"
    ):
        lora.init(jax.random.key(0), replace(CONFIG, targets=("quary",)), params)
    with pytest.raises(UserError, match=r"no layer has a kernel to adapt .*name=freeze"):
        lora.init(jax.random.key(0), CONFIG, {"embed": params["embed"]})
    adapters = lora.init(jax.random.key(0), CONFIG, params)
    with pytest.raises(
        UserError, match="the adapter is of a layer layers/attention/key, which the model has not"
    ):
        lora.merge(CONFIG, adapters, {"head": params["head"]})
