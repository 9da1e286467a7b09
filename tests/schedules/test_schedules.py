import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_lab.schedules import constant, cosine, inverse_sqrt, linear, same_rates, step_decay, wsd
from lm_lab.types import UserError

STEPS = 100
SCHEDULES = {"constant": constant, "cosine": cosine, "linear": linear, "wsd": wsd}
FALLING = [name for name in SCHEDULES if name != "constant"]


def factors(name, **fields):
    schedule = SCHEDULES[name].SCHEDULE
    config = schedule.Config(**fields)
    return jax.vmap(lambda step: schedule.factor(config, step, STEPS))(jnp.arange(STEPS + 1))


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_is_linear_and_never_zero(name):
    rise = factors(name, warmup_steps=10)[:10]
    np.testing.assert_allclose(rise, np.arange(1, 11) / 10, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fields", [{}, {"warmup_steps": 3}])
def test_a_warm_up_may_be_a_share_of_the_run(name, fields):
    share = factors(name, warmup_fraction=0.1, **fields)
    np.testing.assert_array_equal(share, factors(name, warmup_steps=10))
    longer = factors(name, warmup_fraction=0.1, warmup_steps=20)
    np.testing.assert_array_equal(longer, factors(name, warmup_steps=20))


@pytest.mark.parametrize(
    "name, known",
    [
        ("constant", {10: 1.0, 55: 1.0, 100: 1.0}),
        ("cosine", {10: 1.0, 55: 0.6, 100: 0.2}),
        ("linear", {10: 1.0, 55: 0.6, 100: 0.2}),
        ("wsd", {10: 1.0, 55: 1.0, 80: 1.0, 90: 0.6, 100: 0.2}),
    ],
)
def test_schedules_have_known_values(name, known):
    fields = {"final_fraction": 0.2} if name in FALLING else {}
    values = factors(name, warmup_steps=10, **fields)
    assert {step: float(values[step]) for step in known} == pytest.approx(known, rel=1e-6)
    assert (np.diff(values[10:]) <= 1e-7).all()


@pytest.mark.parametrize(
    "name, fields",
    [(name, {"warmup_steps": steps}) for name in SCHEDULES for steps in (0, STEPS)]
    + [(name, {"warmup_fraction": 1.0}) for name in SCHEDULES]
    + [(name, {"final_fraction": 0.0}) for name in FALLING]
    + [("wsd", {"final_fraction": 0.0, "decay_fraction": 0.0})],
)
def test_every_rate_of_a_run_is_positive_and_at_most_the_peak(name, fields):
    values = np.asarray(factors(name, **fields))[:STEPS]
    assert (values > 0).all()
    assert (values <= 1).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warm_up_longer_than_the_run_is_refused(name):
    schedule = SCHEDULES[name].SCHEDULE
    schedule.check_steps(schedule.Config(warmup_steps=7), 7)
    with pytest.raises(UserError, match=r"warmup_steps 8 exceeds the run's 7 steps"):
        schedule.check_steps(schedule.Config(warmup_steps=8), 7)


def test_a_run_may_be_lengthened_while_its_rates_do_not_depend_on_its_length():
    flat, stable = constant.SCHEDULE, wsd.SCHEDULE
    assert same_rates(flat, flat.Config(), 100, 200, until=100)
    # The last fifth of 100 steps falls: step 80 has the whole rate, step 81 the first smaller one.
    assert same_rates(stable, stable.Config(), 100, 200, until=81)
    assert not same_rates(stable, stable.Config(), 100, 200, until=82)
    falling = linear.SCHEDULE
    assert not same_rates(falling, falling.Config(), 100, 200, until=2)


def test_the_rate_is_halved_after_each_epoch_from_the_fourth_on():
    schedule = step_decay.SCHEDULE
    config = schedule.Config(hold_fraction=4 / 13, falls=9, factor=0.5)
    epochs, steps = 13, 2323  # as 1409.2329 trains on the Penn Treebank
    found = schedule.factor(config, jnp.arange(epochs * steps), epochs * steps)
    wanted = [0.5 ** max(0, epoch - 3) for epoch in range(epochs)]
    np.testing.assert_array_equal(found, np.repeat(wanted, steps).astype(np.float32))


def test_the_rate_is_halved_at_four_times_the_warm_up_however_long_the_run_is():
    schedule = inverse_sqrt.SCHEDULE
    config = schedule.Config(warmup_steps=2000)
    steps = np.array([499, 1999, 7999, 31_999])
    found = schedule.factor(config, jnp.asarray(steps), 32_000)
    np.testing.assert_array_equal(found, [0.25, 1, 0.5, 0.25])
    assert same_rates(schedule, config, 8000, 32_000, until=8000)
