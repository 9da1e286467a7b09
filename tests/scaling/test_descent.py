import numpy as np
import pytest
from scipy.optimize import minimize

from lm_lab.scaling.descent import Model, complex_step, descend, huber_losses

X = np.linspace(0.0, 3.0, 40)


def curve(theta):
    return theta[:, 0, None] + np.exp(theta[:, 1, None] - theta[:, 2, None] * X)


def model(low=-5.0, high=5.0):
    return Model(curve, complex_step(curve), np.full(3, low), np.full(3, high))


@pytest.fixture
def target():
    noise = np.random.default_rng(0).standard_t(2, len(X))
    return curve(np.array([[1.0, 0.5, 1.2]]))[0] + 0.05 * noise


def test_the_derivative_of_complex_steps_is_exact():
    theta = np.array([[1.0, 0.5, 1.2], [0.0, -0.3, 0.4]])
    value, jacobian = complex_step(curve)(theta)
    falling = np.exp(theta[:, 1, None] - theta[:, 2, None] * X)
    np.testing.assert_allclose(value, curve(theta), rtol=1e-15)
    exact = np.stack([np.ones_like(falling), falling, -X * falling], 1)
    np.testing.assert_allclose(jacobian, exact, rtol=1e-14)


@pytest.mark.parametrize("huber", [1e-3, 0.1, np.inf])
def test_it_ends_no_higher_than_scipy(target, huber):
    weight = np.where(np.arange(len(X)) % 2, 1.0, 2.0)

    def objective(theta):
        return float(weight @ huber_losses(curve(theta[None])[0] - target, huber))

    starts = np.array([[0.0, 0.0, 1.0], [2.0, -2.0, 0.1], [1.0, 1.0, 3.0]])
    thetas, reached = descend(model(), target, weight, starts, huber)
    options = {"xatol": 1e-12, "fatol": 1e-16, "maxiter": 5000, "maxfev": 5000}
    theirs = min(
        minimize(objective, start, method="Nelder-Mead", options=options).fun for start in starts
    )
    assert reached.min() <= theirs * (1 + 1e-9)
    np.testing.assert_allclose(reached, [objective(theta) for theta in thetas], rtol=1e-12)


def test_many_targets_are_minimised_at_once_as_one_by_one(target):
    targets = np.stack([target, target + 0.1, 1.2 * target])
    weights = np.stack([np.ones(len(X)), np.arange(len(X)) % 2 + 0.5, np.ones(len(X))])
    start = np.array([0.0, 0.0, 1.0])
    together, _ = descend(model(), targets, weights, np.tile(start, (3, 1)), 0.1)
    for theta, of, weight in zip(together, targets, weights):
        np.testing.assert_allclose(
            descend(model(), of, weight, start[None], 0.1)[0][0], theta, rtol=1e-9
        )


def test_a_bound_holds_and_the_rest_is_at_its_minimum_there(target):
    thetas, reached = descend(model(high=0.9), target, np.ones(len(X)), np.array([[0.0, 0.0, 0.5]]))
    assert thetas[0, 0] == 0.9 or thetas[0, 2] == 0.9
    bounds = [(-5.0, 0.9)] * 3
    theirs = minimize(
        lambda theta: 0.5 * np.sum((curve(theta[None])[0] - target) ** 2),
        thetas[0],
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-12},
    )
    assert reached[0] <= theirs.fun * (1 + 1e-9)
