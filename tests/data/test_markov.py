"""Chains whose answers are known on paper."""

import math

import numpy as np
import pytest

from lm_lab.data import markov


@pytest.mark.parametrize(("symbols", "order"), [(2, 1), (8, 1), (4, 3)])
def test_uniform_chain_has_log2_k_bits(symbols, order):
    table = np.full((symbols**order, symbols), 1 / symbols)
    assert markov.entropy_rate(table) == pytest.approx(math.log2(symbols), rel=1e-14)
    np.testing.assert_allclose(markov.stationary(table), 1 / symbols**order, rtol=1e-12)


def test_two_states_by_hand():
    # Leaves 0 with 1/4 and 1 with 1/2: stationary (2/3, 1/3); H(1/4) = 2 - 3/4 log2 3, H(1/2) = 1.
    table = np.array([[0.75, 0.25], [0.5, 0.5]])
    np.testing.assert_allclose(markov.stationary(table), [2 / 3, 1 / 3], rtol=1e-14)
    assert markov.entropy_rate(table) == pytest.approx(
        2 / 3 * (2 - 0.75 * math.log2(3)) + 1 / 3, rel=1e-14
    )


def test_certain_chain_has_no_entropy():
    assert markov.entropy_rate(np.array([[0.0, 1.0], [1.0, 0.0]])) == 0.0


def test_order_one_written_as_order_two_has_the_same_rate():
    table = markov.transitions(5, 1, 0.5, seed=1)
    assert markov.entropy_rate(np.tile(table, (5, 1))) == pytest.approx(
        markov.entropy_rate(table), rel=1e-12
    )


@pytest.mark.parametrize("order", [1, 2])
def test_stationary_stays(order):
    table = markov.transitions(6, order, 0.2, seed=3)
    before = markov.stationary(table)
    assert before.min() > 0
    assert before.sum() == pytest.approx(1, abs=1e-12)
    # In a table over the last symbols, the oldest is summed out and the new one enters at the end.
    after = (before[:, None] * table).reshape(6, -1).sum(axis=0)
    np.testing.assert_allclose(after, before, rtol=1e-10)


def conditional_entropy(drawn, symbols, order):
    """The plug-in estimate, in bits, of the next symbol's entropy given the
    last `order` symbols.
    """
    windows = np.lib.stride_tricks.sliding_window_view(drawn, order + 1, axis=1).reshape(
        -1, order + 1
    )
    codes = windows @ symbols ** np.arange(order, -1, -1)
    counts = np.bincount(codes, minlength=symbols ** (order + 1)).reshape(-1, symbols)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return float(-(counts * logs).sum() / counts.sum())


def test_samples_reach_the_rate_from_the_right_side():
    table = markov.transitions(4, 2, 0.5, seed=0)
    rate = markov.entropy_rate(table)
    drawn = markov.sample(table, 200, 2000, np.random.default_rng(0)).astype(np.int64)
    # Less context leaves more entropy; the plug-in estimate at the true order fits the sample, so
    # it errs downwards by about (k - 1) k^2 / (2 n ln 2) = 9e-5 bits, within the sampling error 1 /
    # sqrt(n) = 1.6e-3.
    assert conditional_entropy(drawn, 4, 0) > conditional_entropy(drawn, 4, 1) > rate
    assert conditional_entropy(drawn, 4, 2) == pytest.approx(rate, abs=4e-3)
    assert conditional_entropy(drawn[:, :40], 4, 4) < conditional_entropy(drawn[:, :40], 4, 2)
    # The true model's code length is unbiased: -log2 p of the sample, begun in the stationary
    # distribution.
    context = drawn[:, :-2] * 4 + drawn[:, 1:-1]
    assert -np.log2(table[context, drawn[:, 2:]]).mean() == pytest.approx(rate, abs=4e-3)
