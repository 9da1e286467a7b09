import dataclasses
import importlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_lab import registry
from lm_lab.engine import sharding
from lm_lab.engine.sharding import unbox
from lm_lab.engine.state import initial_state
from lm_lab.nn.roles import Parameter, Role, roles
from lm_lab.optimizers import (
    adafactor,
    adamw,
    ademamix,
    composed,
    decay_mask,
    lion,
    muon,
    schedule_free,
    sgd,
)
from tests.tiny import ROUNDING, distance

PARAMS = {"kernel": jnp.array([[3.0, -4.0]]), "scale": jnp.array([2.0])}
GRADIENTS = [
    {"kernel": jnp.array([[1.0, -2.0]]) * k, "scale": jnp.array([0.5])} for k in (1.0, 0.3, -2.0)
]


def followed(transform, gradients):
    """The parameters after some updates."""
    params, state = PARAMS, transform.init(PARAMS)
    for gradient in gradients:
        updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def made(module, clip_norm=None, rate=0.1, **fields):
    """An optimizer as in a run: traced settings are arrays."""
    config = module.OPTIMIZER.Config(clip_norm=clip_norm, **fields)
    traced = [f.name for f in dataclasses.fields(config) if f.metadata.get("traced")]
    values = {name: getattr(config, name) for name in traced}
    hyper = {name: jnp.float32(value) for name, value in values.items() if value is not None}
    return composed(module.OPTIMIZER, config, hyper, rate, roles(PARAMS))


class Plain(nn.Module):
    """Stacked layers of flax, which have no roles."""

    @nn.compact
    def __call__(self, x, _):
        return nn.LayerNorm()(nn.Dense(4)(x)), None


def test_what_tells_no_role_decays_by_the_names_of_flax():
    stack = nn.scan(Plain, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
    made = jax.eval_shape(lambda: stack().init(jax.random.key(0), jnp.ones((1, 4)), None))
    mask = decay_mask(made["params"])
    assert mask == {
        "Dense_0": {"kernel": True, "bias": False},
        "LayerNorm_0": {"scale": False, "bias": False},
    }


def test_a_mask_of_boxed_parameters_is_that_of_arrays():
    params = {"odd": Parameter(jnp.ones((2, 2)), (None, None), role=Role("kernel"))}
    plain, still = jax.tree.map(jnp.array, unbox(params)), {"odd": jnp.zeros((2, 2))}
    transform = optax.add_decayed_weights(0.5, decay_mask(params))
    updates, _ = transform.update(still, transform.init(params), plain)
    assert updates["odd"].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_adamw_is_the_papers():
    wanted = {"kernel": np.array([[3.0, -4.0]]), "scale": np.array([2.0])}
    for name, decay in (("kernel", 0.2), ("scale", 0.0)):
        m = v = 0.0
        for t, gradient in enumerate(GRADIENTS, start=1):
            g = np.asarray(gradient[name], np.float64)
            m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
            direction = m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
            wanted[name] = wanted[name] - 0.1 * (direction + decay * wanted[name])
    transform = made(adamw, weight_decay=0.2, beta1=0.8, beta2=0.95, epsilon=1e-6)
    assert distance(followed(transform, GRADIENTS), wanted) < ROUNDING


def test_ademamix_is_the_papers():
    wanted = {"kernel": np.array([[3.0, -4.0]]), "scale": np.array([2.0])}
    for name, decay in (("kernel", 0.2), ("scale", 0.0)):
        m = v = slow = 0.0
        for t, gradient in enumerate(GRADIENTS, start=1):
            g = np.asarray(gradient[name], np.float64)
            risen = min(t / 2, 1.0)
            both = np.log(0.8) * np.log(0.99)
            beta3 = np.exp(both / ((1 - risen) * np.log(0.99) + risen * np.log(0.8)))
            slow = beta3 * slow + (1 - beta3) * g
            m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
            mixed = m / (1 - 0.8**t) + 5 * risen * slow
            direction = mixed / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
            wanted[name] = wanted[name] - 0.1 * (direction + decay * wanted[name])
    own = {"beta3": 0.99, "alpha": 5.0, "rise_steps": 2}
    transform = made(ademamix, weight_decay=0.2, beta1=0.8, beta2=0.95, epsilon=1e-6, **own)
    assert distance(followed(transform, GRADIENTS), wanted) < ROUNDING


def test_lion_is_the_papers():
    wanted = {"kernel": np.array([[3.0, -4.0]]), "scale": np.array([2.0])}
    for name, decay in (("kernel", 0.2), ("scale", 0.0)):
        m = 0.0
        for gradient in GRADIENTS:
            g = np.asarray(gradient[name], np.float64)
            direction = np.sign(0.8 * m + 0.2 * g)
            wanted[name] = wanted[name] - 0.1 * (direction + decay * wanted[name])
            m = 0.95 * m + 0.05 * g
    transform = made(lion, weight_decay=0.2, beta1=0.8, beta2=0.95)
    assert distance(followed(transform, GRADIENTS), wanted) < ROUNDING


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_sgd_is_that_of_its_definition(momentum):
    wanted = {"kernel": np.array([[3.0, -4.0]]), "scale": np.array([2.0])}
    for name, decay in (("kernel", 0.2), ("scale", 0.0)):
        m = 0.0
        for gradient in GRADIENTS:
            m = (momentum or 0.0) * m + np.asarray(gradient[name], np.float64)
            wanted[name] = wanted[name] - 0.1 * (m + decay * wanted[name])
    transform = made(sgd, weight_decay=0.2, momentum=momentum)
    assert distance(followed(transform, GRADIENTS), wanted) < ROUNDING


def orthogonal(matrix):
    """Five Newton-Schulz steps (Jordan et al., 2024) in float64."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / np.linalg.norm(x)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.775 * product + 2.0315 * product @ product) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_muon_makes_the_momentum_of_each_kernel_orthogonal_and_the_rest_moves_by_adam():
    random = np.random.default_rng(0)
    shapes = {"layers": (3, 4, 6), "head": (4, 5), "scale": (4,)}
    kinds = {"layers": Role("kernel", "attention"), "head": Role("kernel", "head"), "scale": Role()}
    params = {name: random.standard_normal(shape) for name, shape in shapes.items()}
    gradients = [jax.tree.map(lambda leaf, s=s: leaf * s + s, params) for s in (1.0, -0.4, 0.3)]
    hyper = {"weight_decay": 0.2, "momentum": 0.9, "beta1": 0.8, "beta2": 0.95}
    transform = muon.OPTIMIZER.make(muon.OPTIMIZER.Config(), hyper, 0.1, kinds)
    moved, state = jax.tree.map(jnp.float32, params), None
    state = transform.init(moved)
    for gradient in gradients:
        updates, state = transform.update(jax.tree.map(jnp.float32, gradient), state, moved)
        moved = optax.apply_updates(moved, updates)

    kernels, m = params["layers"].copy(), 0.0
    for t, gradient in enumerate(gradients, start=1):
        g = gradient["layers"]
        m = 0.9 * m + 0.1 * g
        ahead = 0.9 * m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
        direction = 0.2 * np.sqrt(6) * np.stack([orthogonal(matrix) for matrix in ahead])
        kernels = kernels - 0.1 * (direction + 0.2 * kernels)
    assert distance(moved["layers"], kernels) < 10 * ROUNDING  # fifteen products on end
    rest = {name: params[name] for name in ("head", "scale")}
    adam = optax.adamw(0.1, 0.8, 0.95, 1e-8, weight_decay=0.2, mask={"head": True, "scale": False})
    state = adam.init(rest)
    for gradient in gradients:
        updates, state = adam.update({name: gradient[name] for name in rest}, state, rest)
        rest = optax.apply_updates(rest, updates)
    assert distance({name: moved[name] for name in rest}, rest) < ROUNDING


@pytest.mark.parametrize("relative", [True, False])
def test_adafactor_is_the_papers(relative):
    random = np.random.default_rng(0)
    params, rows, columns = random.standard_normal((3, 4)), 0.0, 0.0
    gradients = [random.standard_normal((3, 4)) for _ in range(3)]
    config = adafactor.OPTIMIZER.Config(relative=relative, factored_from=2)
    hyper = {"weight_decay": 0.2, "decay_exponent": 0.8}
    transform = adafactor.OPTIMIZER.make(config, hyper, 0.1, True)
    moved = jnp.float32(params)
    state = transform.init(moved)
    for t, gradient in enumerate(gradients, start=1):
        updates, state = transform.update(jnp.float32(gradient), state, moved)
        moved = optax.apply_updates(moved, updates)
        beta = 1 - t**-0.8
        rows = beta * rows + (1 - beta) * (gradient**2).mean(1)
        columns = beta * columns + (1 - beta) * (gradient**2).mean(0)
        update = gradient / np.sqrt(np.outer(rows, columns) / rows.mean())
        update /= max(1.0, np.sqrt((update**2).mean()))
        size = max(1e-3, np.sqrt((params**2).mean())) if relative else 1.0
        params = params - 0.1 * (size * update + 0.2 * params)
    assert distance(moved, params) < ROUNDING


def test_schedule_free_is_optaxs_with_the_average_as_parameters():
    rates = [0.05, 0.1, 0.1]  # a warm-up: later iterates weigh more
    fields = {"weight_decay": 0.2, "beta1": 0.8, "beta2": 0.95, "rate_power": 2.0}
    params, state = PARAMS, made(schedule_free, **fields).init(PARAMS)
    direct = optax.contrib.schedule_free(
        optax.chain(
            optax.scale_by_rms(0.95, 1e-8, eps_in_sqrt=False, bias_correction=True),
            optax.add_decayed_weights(0.2, {"kernel": True, "scale": False}),
            optax.scale_by_learning_rate(lambda count: jnp.asarray(rates)[count]),
        ),
        lambda count: jnp.asarray([0.0, *rates])[count],
        b1=0.8,
    )
    y, direct_state = PARAMS, direct.init(PARAMS)
    for rate, shift in zip(rates, (0.0, 1.0, 2.0)):
        transform = made(schedule_free, rate=rate, **fields)
        at = transform.point(state, params)
        assert distance(at, y) < ROUNDING
        gradient = jax.tree.map(lambda leaf, shift=shift: jnp.cos(leaf + shift), y)
        updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        updates, direct_state = direct.update(gradient, direct_state, y)
        y = optax.apply_updates(y, updates)
    wanted = optax.contrib.schedule_free_eval_params(direct_state, y)
    assert distance(params, wanted) < 10 * ROUNDING  # which divides by b1 to find x


@pytest.mark.parametrize("name", registry.names("optimizers"))
def test_every_optimizer_descends_a_quadratic(name):
    module = importlib.import_module(f"lm_lab.optimizers.{name}")
    transform = made(module, rate=0.02, weight_decay=0.0)
    gradient = jax.grad(lambda params: sum((leaf**2).sum() / 2 for leaf in params.values()))

    def step(carry, _):
        params, state = carry
        at = transform.point(state, params)
        updates, state = transform.update(gradient(at), state, params)
        return (optax.apply_updates(params, updates), state), None

    params, _ = jax.lax.scan(step, (PARAMS, transform.init(PARAMS)), length=1500)[0]
    for name, leaf in params.items():
        assert abs(leaf).max() < 0.2 * abs(PARAMS[name]).max()


@pytest.mark.parametrize("module", [adamw, lion, sgd, muon, adafactor, schedule_free])
def test_without_a_gradient_a_matrix_shrinks_by_rate_times_decay_and_a_scale_stays(module):
    still = jax.tree.map(jnp.zeros_like, GRADIENTS[0])
    params = followed(made(module, weight_decay=0.5), [still])
    assert params["kernel"].tolist() == pytest.approx(np.array([[3.0, -4.0]]) * (1 - 0.1 * 0.5))
    assert params["scale"].tolist() == [2.0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", registry.names("optimizers"))
def test_the_state_of_a_kernel_lies_where_the_kernel_lies_and_has_its_dtype(name, dtype):
    module = importlib.import_module(f"lm_lab.optimizers.{name}")
    role = Role("kernel", "feed_forward")
    box = Parameter(jnp.zeros((256, 384), dtype), ("width", "inner"), role=role)
    config = module.OPTIMIZER.Config()
    traced = [f.name for f in dataclasses.fields(config) if f.metadata.get("traced")]
    hyper = {each: jnp.float32(getattr(config, each) or 0) for each in traced}

    def begin(params):
        about = roles(params)

        def optimizer(hyper, rate):
            return composed(module.OPTIMIZER, config, hyper, rate, about)

        return initial_state(params, (), optimizer, hyper, {})

    state = jax.eval_shape(begin, {"kernel": box})
    mesh = sharding.make_mesh(sharding.Config(fsdp=2, tensor=2))
    placed = sharding.state_shardings(mesh, state)
    leaves = zip(jax.tree.leaves(unbox(state.opt_state)), jax.tree.leaves(placed.opt_state))
    moments = [(leaf, place) for leaf, place in leaves if leaf.shape == (256, 384)]
    assert moments or name in ("sgd", "adafactor")
    for leaf, place in moments:
        assert leaf.dtype == dtype
        assert place.spec == placed.params["kernel"].spec


OPTAX = {adamw: (optax.adamw, {"eps": 1e-8}), lion: (optax.lion, {})}


@pytest.mark.parametrize("module", OPTAX)
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_it_is_optaxs_built_directly(module, clip_norm):
    function, extra = OPTAX[module]
    mask = {"kernel": True, "scale": False}
    direct = function(0.1, b1=0.9, b2=0.99, weight_decay=0.3, mask=mask, **extra)
    scales = [1.0 if clip_norm is None else clip_norm / optax.tree.norm(g) for g in GRADIENTS]
    small = [
        jax.tree.map(lambda g, s=scale: g * s, gradient)
        for gradient, scale in zip(GRADIENTS, scales, strict=True)
    ]
    found = followed(made(module, clip_norm, weight_decay=0.3), GRADIENTS)
    assert distance(found, followed(direct, small)) < ROUNDING


def test_the_state_of_adamw_is_that_of_stored_checkpoints():
    state = made(adamw, clip_norm=1.0).init(PARAMS)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    moments = [f"1/0/{moment}/{name}" for moment in ("mu", "nu") for name in ("kernel", "scale")]
    assert names == ["1/0/count", *moments]


def test_clipping_is_by_the_norm_of_the_whole_and_leaves_small_gradients():
    small, large = (
        {"kernel": jnp.array([[k, 0.0]]), "scale": jnp.array([0.0])} for k in (0.5, 50.0)
    )
    # So large an epsilon makes the first update proportional to the gradient.
    transform = made(adamw, clip_norm=1.0, epsilon=1e3, rate=1.0)
    moved = [3.0 - float(followed(transform, [g])["kernel"][0, 0]) - 0.3 for g in (small, large)]
    assert moved[1] / moved[0] == pytest.approx(2.0, rel=0.01)
