from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lm_lab.compute.collectives import collectives
from lm_lab.engine import sharding
from lm_lab.engine.sharding import unbox
from lm_lab.nn.experts import Experts, Mixture, load_balancing_loss
from lm_lab.nn.feed_forward import FeedForward
from tests.tiny import ROUNDING, distance, normal

E, D, F, B, L = 5, 8, 12, 2, 30
X = normal(B, L, D)
REAL = jnp.arange(L) < jnp.asarray([[L], [11]])
GROUPINGS = ("ragged", "blocks")


def layer(**changes):
    return Experts(
        Mixture(**{"experts": E, "chosen": 2, "inner": F, "activation": "swiglu"} | changes), 1.0
    )


def params_of(module):
    return unbox(jax.jit(module.init)(jax.random.key(1), X)["params"])


def applied(module, params, x=X, real=None):
    return jax.jit(
        lambda params, x: module.apply({"params": params}, x, None if real is None else ~real)
    )(params, x)


def looped(params, chosen, capacity=None, real=None):
    """2401.04088, section 2.1, in float64, token by token: an expert takes `capacity` of a row."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    out = np.zeros(X.shape)
    for row in range(B):
        taken = np.zeros(E, int)
        for place in range(L):
            x = np.asarray(X[row, place], np.float64)
            router_probs = np.exp(x @ p["router"]["kernel"])
            router_probs /= router_probs.sum()
            best = np.argsort(-router_probs)[:chosen]
            for expert in best:
                if real is not None and not real[row, place]:
                    continue
                taken[expert] += 1
                if capacity is not None and taken[expert] > capacity:
                    continue
                up, gate = (x @ p[name]["kernel"][expert] for name in ("up", "gate"))
                y = (gate / (1 + np.exp(-gate)) * up) @ p["down"]["kernel"][expert]
                out[row, place] += y * (
                    router_probs[expert] / router_probs[best].sum()
                    if chosen > 1
                    else router_probs[expert]
                )
    return out


@pytest.mark.parametrize("kernel", GROUPINGS)
@pytest.mark.parametrize("chosen", [1, 3])
def test_a_token_is_the_weighed_sum_of_its_experts(kernel, chosen):
    module = layer(chosen=chosen, kernel=kernel)
    params = params_of(module)
    assert distance(applied(module, params), looped(params, chosen)) < ROUNDING


@pytest.mark.parametrize("real", [None, REAL], ids=["whole", "padded"])
def test_an_expert_takes_the_first_tokens_of_a_row_up_to_its_capacity(real):
    module = layer(capacity_factor=0.75)  # 9 tokens of 30, where an even share were 12
    params = params_of(module)
    assert distance(applied(module, params, real=real), looped(params, 2, 9, real)) < ROUNDING


@pytest.mark.parametrize(
    "changes", [{"kernel": "ragged"}, {"kernel": "blocks"}, {"capacity_factor": E / 2}], ids=str
)
def test_all_ways_of_taking_every_token_have_one_gradient(changes):
    weights = normal(*X.shape, seed=3)

    def gradient(module):
        return jax.jit(
            jax.grad(
                lambda params, x: (module.apply({"params": params}, x) * weights).sum(), (0, 1)
            )
        )

    params = params_of(layer())
    everything = gradient(layer(capacity_factor=float(E)))(params, X)
    assert distance(gradient(layer(**changes))(params, X), everything) < ROUNDING


@pytest.mark.parametrize(
    "changes", [{"kernel": "ragged"}, {"kernel": "blocks"}, {"capacity_factor": 1.0}], ids=str
)
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_one_expert_is_a_dense_layer(changes, activation):
    module = layer(experts=1, chosen=1, activation=activation, **changes)
    params = params_of(module)
    dense = {
        name: {"kernel": leaf["kernel"][0]} for name, leaf in params.items() if name != "router"
    }
    assert (
        distance(
            applied(module, params), FeedForward(F, activation, 1.0).apply({"params": dense}, X)
        )
        < ROUNDING
    )


def test_kernels_begin_as_those_of_a_dense_layer():
    module = Experts(Mixture(16, 2, 64, "gelu"), 0.5)
    params = unbox(jax.jit(module.init)(jax.random.key(1), jnp.ones((1, 1, 128)))["params"])
    # 131,072 draws: the standard deviation is known within 0.2 %.
    assert float(params["up"]["kernel"].std()) == pytest.approx(128**-0.5, rel=0.01)
    assert float(params["down"]["kernel"].std()) == pytest.approx(0.5 * 64**-0.5, rel=0.01)


def test_members_of_a_population_are_themselves_in_groups_of_rows():
    def slopes(kernel, params, x):  # of a group, which shares the kernels with the others
        module = layer(kernel=kernel)
        return jax.grad(lambda params: (module.apply({"params": params}, x) ** 2).sum())(params)

    def of_all(kernel, members):
        each_group = jax.vmap(partial(slopes, kernel), in_axes=(None, 0))
        return jax.vmap(each_group, in_axes=(0, None))(members, X[:, None])

    params = params_of(layer())
    members = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), params)
    together = jax.jit(lambda members: [of_all(kernel, members) for kernel in GROUPINGS])(members)
    alone = jax.jit(partial(slopes, "ragged"))
    expected = [
        [alone(each, X[group : group + 1]) for group in range(B)]
        for each in (params, jax.tree.map(lambda leaf: -leaf, params))
    ]
    joined = jax.tree.map(
        lambda *leaves: jnp.stack(leaves).reshape(2, B, *leaves[0].shape),
        *expected[0],
        *expected[1],
    )
    for found in together:
        assert distance(found, joined) < ROUNDING


def test_imbalance_is_switch_transformers():
    rng = np.random.default_rng(0)
    router_probs = rng.dirichlet(np.ones(E), (B, L))
    chosen = np.argsort(-router_probs)[..., :2]
    wanted = []
    for row, count in enumerate((L, 11)):
        share = np.bincount(chosen[row, :count].ravel(), minlength=E) / (2 * count)
        wanted.append(E * share @ router_probs[row, :count].mean(0))
    assert (
        distance(
            load_balancing_loss(jnp.float32(router_probs), jnp.asarray(chosen), REAL),
            np.asarray(wanted),
        )
        < ROUNDING
    )
    alike = jnp.full((1, E, E), 1 / E)
    assert load_balancing_loss(alike, jnp.arange(E)[None, :, None], None) == pytest.approx(1.0)
    assert load_balancing_loss(alike, jnp.arange(E)[None, :, None], jnp.zeros((1, E), bool)) == 0


def test_the_loss_is_sown_for_every_row():
    module = layer(balance_weight=0.5)
    params = params_of(module)
    y, sown = module.apply({"params": params}, X, ~REAL, mutable=["losses"])
    router_probs = jax.nn.softmax(X @ params["router"]["kernel"])
    wanted = 0.5 * load_balancing_loss(router_probs, jax.lax.top_k(router_probs, 2)[1], REAL)
    assert distance(sown["losses"]["balance"][0], wanted) < ROUNDING
    assert (
        distance(applied(module, params, real=REAL), y) < ROUNDING
    )  # and nowhere, where nobody asks


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two of the suite's virtual devices")
def test_devices_that_split_rows_take_every_token_of_their_own_and_send_the_gradient_alone():
    module = layer(kernel="blocks")
    params = params_of(module)

    def gradient(params, x):
        return jax.grad(lambda params: (module.apply({"params": params}, x) ** 2).sum())(params)

    mesh = sharding.make_mesh(sharding.Config(data=2))
    whole, rows = NamedSharding(mesh, P()), sharding.rows_sharding(mesh)
    with sharding.use(mesh):
        split = jax.jit(gradient, in_shardings=(whole, rows), out_shardings=whole)
        step = split.lower(params, X).compile()
    found = step(*jax.device_put((params, X), (whole, rows)))
    assert distance(found, jax.jit(gradient)(params, X)) < ROUNDING
    sent = collectives(step.as_text() or "")["all-reduce"].sent
    assert sent == sum(leaf.nbytes for leaf in jax.tree.leaves(params))  # a ring of two sends each
