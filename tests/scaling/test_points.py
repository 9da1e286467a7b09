import numpy as np
import pytest

from lm_lab.scaling.best import best_of_each
from lm_lab.scaling.points import make_points, points_from_rows
from lm_lab.scaling.rates import optimum
from lm_lab.types import UserError


def row(name="a", status="complete", loss=2.0, rate=0.1, seed=0, params=1e4, **more):
    return {
        "name": name,
        "status": status,
        "budget_flops": 1e11,
        "params": params,
        "tokens": 1e6,
        "flops": 9.9e10,
        "loss": loss,
        "optimizer.peak_rate": rate,
        "seed": seed,
        **more,
    }


def kinds(cautions):
    return [caution.kind for caution in cautions]


def test_rows_of_a_csv_become_points():
    points = points_from_rows([{key: str(value) for key, value in row().items()}])
    assert (points.params[0], points.tokens[0], points.flops[0], points.budget[0]) == (
        1e4,
        1e6,
        9.9e10,
        1e11,
    )
    assert (points.loss[0], points.rate[0], points.seed[0]) == (2.0, 0.1, 0.0)


def test_nothing_is_dropped_in_silence():
    points = points_from_rows(
        [row(), row("b", "failed", ""), row("c", "diverged", None, seed=1), row("d", loss=None)]
    )
    assert points.loss.tolist() == [2.0, np.inf]
    assert [caution.where for caution in points.left_out] == ["b", "d"]
    assert "failed" in points.left_out[0].message


def test_another_column_may_be_n():
    points = points_from_rows([row(params_total=3e4)], params="params_total")
    assert points.params[0] == 3e4


def test_a_missing_column_or_a_word_for_a_number_is_the_users_error():
    poor = row()
    del poor["tokens"]
    with pytest.raises(UserError, match="tokens"):
        points_from_rows([poor])
    with pytest.raises(UserError, match="flops must be a number"):
        points_from_rows([row(flops="many")])


def test_no_budget_means_the_runs_own_flops():
    assert make_points([1e4], [1e6], [6e10], [2.0]).budget[0] == 6e10
    with pytest.raises(UserError, match="budget or flops"):
        make_points([1e4], [1e6], [np.nan], [2.0])


def test_the_best_rate_is_that_of_the_best_mean_over_seeds():
    rows = [
        row(loss=loss, rate=rate, seed=seed)
        for rate, seed, loss in [(1, 0, 1.8), (1, 1, 2.4), (2, 0, 2.0), (2, 1, 2.1)]
    ]
    best, _ = best_of_each(points_from_rows(rows))
    assert (len(best), best.rate[0], best.runs[0]) == (1, 2.0, 2.0)
    np.testing.assert_allclose(best.loss[0], 2.05)


def grid(losses, params=1e4):
    rates = range(1, len(losses) + 1)
    return [
        row(loss=loss, rate=rate, params=params, status="complete" if loss else "diverged")
        for rate, loss in zip(rates, losses)
    ]


@pytest.mark.parametrize(
    "grids, expected",
    [
        ([[2.0, 2.1, 2.2]], ["best rate at the edge of its grid"]),
        ([[2.2, 2.1, 2.0]], ["best rate at the edge of its grid"]),
        ([[2.1, 2.0, 2.2]], []),
        ([[2.1, 2.0, None]], []),  # a rate that diverged was tried
        ([[2.1, 2.0], [2.1, 2.0]], ["best rate at the edge of its grid"]),
        (
            [[2.1, 2.0], [2.0, 2.1]],
            [],
        ),  # two rates: an edge always wins; the same one everywhere is the sign
        ([[2.1], [2.0]], ["rate not tuned"]),
    ],
)
def test_cautions_about_the_rate(grids, expected):
    rows = [cell for i, losses in enumerate(grids) for cell in grid(losses, params=1e4 * (i + 1))]
    best, cautions = best_of_each(points_from_rows(rows))
    assert len(best) == len(grids)
    assert kinds(cautions) == expected


def test_the_text_that_chooses_is_not_the_text_that_is_reported():
    rows = [
        row(loss=loss, rate=rate, selection_loss=choice)
        for rate, loss, choice in [(1, 1.9, 2.1), (2, 2.2, 2.0)]
    ]
    best, _ = best_of_each(points_from_rows(rows))
    assert (best.rate[0], best.loss[0]) == (2.0, 2.2)
    # Where one run lacks it, all are chosen by the loss.
    best, _ = best_of_each(points_from_rows([*rows, row(loss=2.3, rate=3)]))
    assert (best.rate[0], best.loss[0]) == (1.0, 1.9)


def test_the_optimum_between_the_rates_tried_is_that_of_a_parabola():
    rates = np.array([1.0, 3.0, 9.0, 27.0])
    losses = 2.0 + 0.1 * np.log(rates / 4.0) ** 2
    rows = [row(loss=loss, rate=rate) for rate, loss in zip(rates, losses)]
    best, cautions = best_of_each(points_from_rows(rows))
    np.testing.assert_allclose([best.rate[0], best.loss[0]], [4.0, 2.0], rtol=1e-12)
    assert not cautions


@pytest.mark.parametrize("losses", [[2.0, 2.1, 2.2], [2.2, 2.0, np.inf], [2.0, 2.0, 2.0]])
def test_no_parabola_goes_beyond_the_grid_or_through_what_diverged(losses):
    rate, weights, is_inside = optimum(np.array([1.0, 2.0, 4.0]), np.array(losses))
    assert rate == [1.0, 2.0, 4.0][int(np.argmin(losses))]
    assert sorted(weights) == [0, 0, 1]
    assert not is_inside


def test_the_best_of_the_rest_is_chosen_and_named_with_its_seeds_noise():
    losses = {(64, 0): 2.0, (64, 1): 2.2, (256, 0): 1.9, (256, 1): 2.0}
    rows = [
        row(loss=loss, seed=seed, **{"train.batch_size": batch, "model.width": 16})
        for (batch, seed), loss in losses.items()
    ]
    swept = ("model.width", "train.batch_size", "optimizer.peak_rate", "seed")
    best, _ = best_of_each(points_from_rows(rows, swept=swept))
    assert best.chosen == ("train.batch_size=256",)  # the width decides the size: nothing to choose
    assert (best.loss[0], best.runs[0]) == (pytest.approx(1.95), 2)
    np.testing.assert_allclose(best.loss_sd, np.std([1.9, 2.0], ddof=1))


def test_the_edge_of_another_setting_is_a_caution():
    rows = [
        row(loss=loss, **{"train.batch_size": batch})
        for batch, loss in [(8, 2.2), (16, 2.1), (32, 2.0)]
    ]
    _, cautions = best_of_each(points_from_rows(rows, swept=["train.batch_size"]))
    assert kinds(cautions) == ["rate not tuned", "best setting at the edge of its grid"]


def test_equal_runs_are_no_seeds():
    with pytest.raises(UserError, match=r"a and b are runs of one size .* seed; leave one out"):
        points_from_rows([row(), row("b", loss=2.1)])


def test_budgets_that_agree_but_for_rounding_are_one():
    flops = np.repeat([1e11, 3e11, 1e12], 5)
    jittered = flops * (1 + 1e-9 * np.arange(15))
    params = np.tile(np.geomspace(1e4, 1e5, 5), 3)
    points = make_points(params, flops / 6 / params, jittered, np.full(15, 2.0))
    np.testing.assert_allclose(points.budgets(), [1e11, 3e11, 1e12], rtol=1e-7)
    assert kinds(points.left_out) == ["budgets joined"]
    assert "15 budgets" in points.left_out[0].message


def test_a_continuum_of_budgets_is_left_alone():
    flops = np.geomspace(1e18, 1e22, 1000)
    points = make_points(np.full(1000, 1e8), flops / 6e8, flops, np.full(1000, 2.0))
    assert len(points.budgets()) == 1000
    assert points.left_out == ()


def test_a_cell_that_always_diverged_is_named():
    best, cautions = best_of_each(
        points_from_rows(grid([None, None]) + grid([2.0, 2.1, 1.9, 2.0], params=2e4))
    )
    assert len(best) == 1
    assert kinds(cautions) == ["run left out"]
    assert "1e+04 parameters" in cautions[0].where
