import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_lab.train.optimizer import Config, decayed, make, rate_factor
from lm_lab.types import Inputs, UserError
from tests import tiny
from tests.tiny import ROUNDING, distance

STEPS = 100


def factors(**fields):
    config = Config(**fields)
    return jax.vmap(lambda step: rate_factor(config, step, STEPS))(jnp.arange(STEPS + 1))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
def test_warm_up_is_linear_and_never_zero(schedule):
    rise = factors(schedule=schedule, warmup_steps=10)[:10]
    np.testing.assert_allclose(rise, np.arange(1, 11) / 10, rtol=1e-6)


@pytest.mark.parametrize(
    "schedule, known",
    [
        ("constant", {10: 1.0, 55: 1.0, 100: 1.0}),
        ("cosine", {10: 1.0, 55: 0.6, 100: 0.2}),
        ("linear", {10: 1.0, 55: 0.6, 100: 0.2}),
        ("wsd", {10: 1.0, 55: 1.0, 80: 1.0, 90: 0.6, 100: 0.2}),
    ],
)
def test_schedules_have_known_values(schedule, known):
    values = factors(schedule=schedule, warmup_steps=10, final_fraction=0.2, decay_fraction=0.2)
    assert {step: float(values[step]) for step in known} == pytest.approx(known, rel=1e-6)
    assert (np.diff(values[10:]) <= 1e-7).all()


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
@pytest.mark.parametrize(
    "fields", [{"warmup_steps": STEPS}, {"warmup_steps": 0}, {"decay_fraction": 0.0}]
)
def test_every_rate_of_a_run_is_positive_and_at_most_the_peak(schedule, fields):
    values = np.asarray(factors(schedule=schedule, final_fraction=0.0, **fields))[:STEPS]
    assert (values > 0).all()
    assert (values <= 1).all()


def test_a_warm_up_longer_than_the_run_is_refused():
    Config(warmup_steps=7).check_steps(7)
    with pytest.raises(
        UserError, match=r"config\.optimizer\.warmup_steps 8 exceeds the run's 7 steps"
    ):
        Config(warmup_steps=8).check_steps(7)


def test_decay_is_for_matrices_by_name():
    params = tiny.params_of(tiny.model(positions="learned"), Inputs(tiny.tokens()))
    for path, chosen in jax.tree_util.tree_leaves_with_path(decayed(params)):
        name = jax.tree_util.keystr(path, simple=True)
        assert chosen == ("norm" not in name), name
    # Stacked over layers, a norm's scale has two axes as a matrix has.
    assert params["layers"]["attention_norm"]["scale"].ndim == 2


def updated(config, gradients, rate=0.1):
    params = {"kernel": jnp.array([[3.0, -4.0]]), "scale": jnp.array([2.0])}
    transform = make(config, config.hyper(0), rate)
    state = transform.init(params)
    for gradient in gradients:
        updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


GRADIENTS = [
    {"kernel": jnp.array([[1.0, -2.0]]) * k, "scale": jnp.array([0.5])} for k in (1.0, 0.3, -2.0)
]


def test_adamw_is_the_papers():
    config = Config(clip_norm=None, weight_decay=0.2, beta1=0.8, beta2=0.95, epsilon=1e-6)
    wanted = {"kernel": np.array([[3.0, -4.0]]), "scale": np.array([2.0])}
    for name, decay in (("kernel", 0.2), ("scale", 0.0)):
        m = v = 0.0
        for t, gradient in enumerate(GRADIENTS, start=1):
            g = np.asarray(gradient[name], np.float64)
            m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
            direction = m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
            wanted[name] = wanted[name] - 0.1 * (direction + decay * wanted[name])
    assert distance(updated(config, GRADIENTS), wanted) < ROUNDING


def test_without_a_gradient_a_matrix_shrinks_by_rate_times_decay_and_a_scale_stays():
    still = jax.tree.map(jnp.zeros_like, GRADIENTS[0])
    params = updated(Config(weight_decay=0.5), [still])
    assert params["kernel"].tolist() == pytest.approx(np.array([[3.0, -4.0]]) * (1 - 0.1 * 0.5))
    assert params["scale"].tolist() == [2.0]


@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_it_is_optaxs_adamw_built_directly(clip_norm):
    config = Config(clip_norm=clip_norm, weight_decay=0.3)
    adamw = optax.adamw(
        0.1, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.3, mask={"kernel": True, "scale": False}
    )
    params = {"kernel": jnp.array([[3.0, -4.0]]), "scale": jnp.array([2.0])}
    state = adamw.init(params)
    for gradient in GRADIENTS:
        scale = 1.0 if clip_norm is None else clip_norm / float(optax.tree.norm(gradient))
        updates, state = adamw.update(
            jax.tree.map(lambda g, s=scale: g * s, gradient), state, params
        )
        params = optax.apply_updates(params, updates)
    assert distance(updated(config, GRADIENTS), params) < ROUNDING


def test_clipping_is_by_the_norm_of_the_whole_and_leaves_small_gradients():
    config = Config(
        clip_norm=1.0, epsilon=1e3
    )  # so large an epsilon makes the first update proportional
    small, large = (
        {"kernel": jnp.array([[k, 0.0]]), "scale": jnp.array([0.0])} for k in (0.5, 50.0)
    )
    moved = [
        3.0 - float(updated(config, [g], rate=1.0)["kernel"][0, 0]) - 0.3 for g in (small, large)
    ]
    assert moved[1] / moved[0] == pytest.approx(2.0, rel=0.01)
