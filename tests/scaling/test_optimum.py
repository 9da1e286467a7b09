import numpy as np
import pytest

from lm_lab.scaling.optimum import MeasuredCost, exponent_over, optimal_params
from lm_lab.scaling.surface import log_loss


def theta_of(E, A, alpha, B, beta):
    return np.array([np.log(E), np.log(A), alpha, np.log(B), beta])


BESIROGLU = theta_of(1.8169, 482.01, 0.3478, 2085.43, 0.3658)  # 2404.10102


def test_the_convention_gives_hoffmanns_closed_form():
    # 2203.15556, eq. 4: N* = G (C/6)^a, a = beta / (alpha + beta), G = (alpha A / (beta B))^(1 /
    # (alpha + beta)).
    flops = np.geomspace(1e10, 1e26, 9)
    G = (0.3478 * 482.01 / (0.3658 * 2085.43)) ** (1 / 0.7136)
    np.testing.assert_allclose(
        optimal_params(BESIROGLU, flops), G * (flops / 6) ** (0.3658 / 0.7136), rtol=1e-7
    )


@pytest.mark.parametrize(
    "alpha, beta, tokens_per_param", [(0.34, 0.28, 92.7), (0.3392, 0.2849, 58.9)]
)
def test_two_digits_of_the_published_exponents_move_d_over_n(alpha, beta, tokens_per_param):
    # Hoffmann's fit, A 406.4 and B 410.7, at Gopher's 5.76e23 FLOPs: rounded as in the text, and
    # not.
    params = optimal_params(theta_of(1.69, 406.4, alpha, 410.7, beta), np.array([5.76e23]))[0]
    assert 5.76e23 / (6 * params**2) == pytest.approx(tokens_per_param, rel=5e-3)


def test_besiroglus_exponent():
    flops = np.array([1e18, 1e24])
    assert exponent_over(flops, optimal_params(BESIROGLU, flops)) == pytest.approx(0.513, abs=5e-4)


@pytest.mark.parametrize(
    "count, low, high, exponent", [("body", 12.95, 20.7, 0.775), ("total", 14.0, 20.7, 0.509)]
)
def test_pearce_and_song_reconcile_kaplan_with_chinchilla(count, low, high, exponent):
    # 2406.12907: twenty sizes from 768 to 1.5e9 without embeddings, N_total = N + 47491 N^(1/3),
    # compute counted as N is; the exponent is the slope through the best of the twenty at each of
    # 100 budgets.
    body = np.logspace(2.9, 9.2, 20)
    total = body + 47491 * np.cbrt(body)
    counted = {"body": body, "total": total}[count]
    flops = np.logspace(low, high, 100)
    loss = log_loss(BESIROGLU, np.log(total), np.log(flops[:, None] / (6 * counted)))
    best = counted[loss.argmin(-1)]
    assert np.polyfit(np.log(flops), np.log(best), 1)[0] == pytest.approx(exponent, abs=2e-3)


def test_the_optimum_at_a_cost_without_embeddings_is_steep_like_kaplans():
    # The same in closed form: the cost of a token is 6 N without embeddings, as a function of all
    # parameters.
    body = np.logspace(-15, 36, 10000)
    total = body + 47491 * np.cbrt(body)

    def body_cost(params):
        return 6 * np.exp(np.interp(np.log(params), np.log(total), np.log(body)))

    flops = np.logspace(12.95, 20.7, 100)
    best = np.interp(
        np.log(optimal_params(BESIROGLU, flops, body_cost)), np.log(total), np.log(body)
    )
    assert np.polyfit(np.log(flops), best, 1)[0] == pytest.approx(0.775, abs=0.015)


def test_a_cost_steeper_than_n_shifts_the_exponent():
    # With C = k N^s D the optimum goes as C^(beta / (alpha + s beta)).
    params = np.geomspace(1e3, 1e6, 8)
    cost = MeasuredCost.of(params, np.full(8, 1e6), 7.0 * params**1.2 * 1e6)
    flops = np.array([1e10, 1e14])
    found = exponent_over(flops, optimal_params(BESIROGLU, flops, cost))
    assert found == pytest.approx(0.3658 / (0.3478 + 1.2 * 0.3658), rel=1e-6)


def test_the_measured_cost_follows_the_data_and_goes_straight_beyond():
    params = np.geomspace(1e4, 1e6, 9)
    per_token = 6 * params + 800 * np.sqrt(params)
    cost = MeasuredCost.of(params, np.full(9, 1e7), per_token * 1e7)
    np.testing.assert_allclose(cost(params), per_token, rtol=0.02)
    beyond = np.log(cost(np.array([1e8, 1e9, 1e10])))
    assert beyond[2] - beyond[1] == pytest.approx(beyond[1] - beyond[0])


def test_draws_and_budgets_broadcast():
    flops = np.array([1e18, 1e20, 1e22])
    draws = np.stack([BESIROGLU, BESIROGLU + 0.01])
    found = optimal_params(draws, flops)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[0], optimal_params(BESIROGLU, flops))
