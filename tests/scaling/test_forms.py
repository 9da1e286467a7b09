import csv
import dataclasses
import json

import numpy as np
import pytest

from lm_lab.registry import load_value, names
from lm_lab.scaling.contract import Form
from lm_lab.scaling.estimation import Data, expected_squares, simulate
from lm_lab.scaling.planted import PLANTED, curves, surface
from lm_lab.scaling.powers import growth
from lm_lab.scaling.records import Refusal

ONES = np.ones(8)


def form(name):
    return load_value("scaling.forms", "FORM", Form, name, "law")


def fitted(name, columns, resamples=0, seed=0):
    fit = form(name).fit(columns, 0.9, resamples, seed)
    assert not isinstance(fit, Refusal), fit
    return fit


def kinds(cautions):
    return {caution.kind for caution in cautions}


def test_every_law_is_planted_somewhere():
    assert set(names("scaling.forms")) == set(PLANTED)


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_law_without_noise_is_recovered(name):
    fit = fitted(name, PLANTED[name].table(0.0, seed=0), resamples=2)
    for parameter, truth in PLANTED[name].truth.items():
        assert fit[parameter].value == pytest.approx(truth, rel=1e-6)
    # two of the eight runs of over-training decide its exponent
    expected = {"decided by one point"} if name == "over_training" else set()
    assert kinds(fit.cautions) == expected
    assert json.loads(json.dumps(dataclasses.asdict(fit), allow_nan=False))["law"] == name


def test_ninety_percent_intervals_hold_the_truth_about_nine_times_in_ten():
    # 13 laws of 4 tables each. Parameters of one fit miss together: counted as two a fit, 104 are
    # under 78 % once in 10,000 times at a true 90 %. tools/calibrate.py has 100 tables of each.
    inside = []
    for name in sorted(set(PLANTED) - {"repeated_data", "envelope"}):
        planted = PLANTED[name]
        for seed in range(4):
            fit = fitted(name, planted.table(planted.noise, seed), resamples=100, seed=seed)
            inside += [fit[key].low < truth < fit[key].high for key, truth in planted.truth.items()]
    assert 0.78 < np.mean(inside) < 0.98


def test_a_wild_point_moves_the_law_little_and_is_named():
    table = PLANTED["kaplan_joint"].table(0.002, seed=0)
    clean = fitted("kaplan_joint", table, resamples=100)
    table["loss"][7] *= 1.1
    wild = fitted("kaplan_joint", table, resamples=100)
    assert "outlier" in kinds(wild.cautions)
    for name in PLANTED["kaplan_joint"].truth:
        assert clean[name].low < wild[name].value < clean[name].high


def test_a_point_that_decides_alone_is_no_outlier_but_a_caution():
    # sizes 1, 1, 1, 1 and 100 (in 1e6): the last alone decides the slope, and is fitted exactly
    params = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 100.0]) * 1e6 * np.geomspace(1, 1.2, 6)
    loss = (8.8e13 / params) ** 0.076
    loss[-1] *= 1.3
    fit = fitted("kaplan_params", {"params": params, "loss": loss}, resamples=20)
    assert kinds(fit.cautions) == {"decided by one point"}
    assert "1 of 6 points" in fit.cautions[0].message
    assert "without params 1.2e+08: N_c 8.8e+13, alpha_N 0.076" in fit.cautions[0].message


@pytest.mark.parametrize("run", [0, 7])
def test_a_fault_in_a_decisive_run_is_found_and_both_answers_are_in_the_interval(run):
    # The first and the last of the eight runs decide. 15 s.d. off, the last one bends the law until
    # its own leverage looks small: judged by the law of the others it is found nonetheless, in 100
    # of 100 tables (the first in 96). That 8 or fewer of 12 intervals hold eta happens to a true
    # 90 % in 1 of 40, and to intervals of the M-estimate alone (18 and 53 %) almost always.
    planted, inside, found = PLANTED["over_training"], [], []
    size = planted.columns["params"][run]
    for seed in range(12):
        table = planted.table(planted.noise, seed)
        table["loss"][run] *= np.exp(15 * planted.noise)
        fit = fitted("over_training", table, resamples=100, seed=seed)
        inside.append(fit["eta"].low < 0.136 < fit["eta"].high)
        (message,) = [c.message for c in fit.cautions if c.kind == "decided by one point"]
        found.append(f"reject the point at params {size:.3g}" in message)
    assert np.sum(inside) > 8
    assert np.sum(found) > 9


def test_errors_that_neighbours_share_are_in_the_intervals_and_the_noise():
    # Crossings of nine curves: the error of each is that of one curve less that of the next. By
    # the covariance (1 on the diagonal, -1/2 beside it) the slope's s.d. is .61 of that of eight
    # errors of their own (15.75 against 42), and eight squared residuals add up to 7.5, not 6.
    spread = (np.eye(8, 9) - np.eye(8, 9, 1)) / np.sqrt(2)
    columns = {"flops": np.exp(np.arange(8.0)), "params": np.exp(0.5 * np.arange(8)), "runs": ONES}
    curve = growth(("k", ""), {"flops": "a"})
    data = Data.of(curve, "params", columns, spread)
    theta = np.array([np.log(columns["params"]).mean(), 0.5])
    squares, freedom = expected_squares(data, theta)
    assert squares == pytest.approx(7.5)
    assert 1 < freedom < 6
    slopes = simulate(data, theta, 1e-3, 4000, np.random.default_rng(0))[:, 1]
    spared = 1e-3 * np.sqrt(15.75) / 42 * np.sqrt(freedom / (freedom - 2))  # Student's t
    assert np.std(slopes) == pytest.approx(spared, rel=0.1)


def test_rows_weigh_as_many_as_their_seeds():
    planted = PLANTED["accuracy_exponential"]
    errors = {"weighted": [], "plain": []}
    runs = np.where(np.arange(20) % 2, 1.0, 25.0)
    for seed in range(12):
        noise = 0.01 * np.random.default_rng(seed).standard_normal(20) / np.sqrt(runs)
        table = planted.table(0.0, 0)
        table["accuracy"] = table["accuracy"] + noise
        for key, columns in (("plain", table), ("weighted", {**table, "runs": runs})):
            fit = fitted("accuracy_exponential", columns)
            errors[key].append(fit["gamma"].value - 0.75)
    # weights are worth a factor 1.9 of s.d. here (the information of 25 against 1, averaged)
    assert np.std(errors["weighted"]) < 0.75 * np.std(errors["plain"])


def test_rows_without_a_number_are_left_out_and_too_few_are_refused():
    table = PLANTED["kaplan_params"].table(0.0, 0)
    table["loss"][[0, 3]] = np.nan, np.inf
    fit = fitted("kaplan_params", table)
    assert kinds(fit.cautions) == {"row left out"}
    assert len(fit.observed) == 8
    few = form("kaplan_params").fit({key: column[:3] for key, column in table.items()}, 0.9, 10, 0)
    assert isinstance(few, Refusal)
    assert few.kind == "too few points"
    alike = form("kaplan_params").fit(
        {"params": np.full(8, 1e6), "loss": table["loss"][:8]}, 0.9, 9, 0
    )
    assert isinstance(alike, Refusal)
    assert "the same params" in alike.message


def test_a_law_that_the_data_do_not_have_is_doubted():
    params = np.geomspace(1e6, 1e9, 9)
    fit = fitted("kaplan_params", {"params": params, "loss": 2 + 0.01 * np.log(params)}, 20)
    assert "parameter at a bound" in kinds(fit.cautions)
    # one value of D / N: parameters and tokens move together
    table = {"params": params, "tokens": 20 * params, "loss": surface(params, 20 * params)}
    table["loss"] *= np.exp(0.01 * np.random.default_rng(0).standard_normal(9))
    assert "badly conditioned" in kinds(fitted("chinchilla", table, 20).cautions)


def test_prediction_has_the_value_and_the_interval_of_the_law():
    planted = PLANTED["over_training"]
    fit = fitted("over_training", planted.table(0.005, 1), resamples=200)
    new = {"params": np.array([1e9, 4e9]), "tokens": np.array([2e10, 1e12])}
    value, low, high = form("over_training").predict(fit, new, 0.9)
    assert (low < value).all()
    assert (value < high).all()
    assert (low < planted.measured(**new)).all()
    assert (planted.measured(**new) < high).all()
    inside = {key: np.array(column) for key, column in fit.inputs.items()}
    np.testing.assert_allclose(
        form("over_training").predict(fit, inside, 0.9)[0], [each.value for each in fit.predicted]
    )


def test_the_best_of_several_batches_decides_the_best_rate():
    table = PLANTED["rate"].table(0.0, 0)
    rows = {key: np.tile(column, 2) for key, column in table.items()}
    rows["batch"] = np.repeat([1e5, 2e5], len(table["loss"]))
    rows["loss"] += np.where(rows["batch"] == 2e5, 0.01 * np.log(rows["rate"] * 1e4) ** 2, 0) + 0.01
    rows["loss"] -= np.where(rows["batch"] == 1e5, 0.01, 0)
    fit = fitted("rate", rows)
    assert fit["a"].value == pytest.approx(-0.713, rel=1e-6)


def test_an_optimum_at_the_edge_of_its_grid_is_left_out_and_named():
    table = PLANTED["batch"].table(0.0, 0)
    first = (table["params"] == table["params"][0]) & (table["tokens"] == table["tokens"][0])
    best = 40.0 * table["tokens"][0] ** 0.38
    kept = ~first | (table["batch"] < best)
    fit = fitted("batch", {key: column[kept] for key, column in table.items()})
    (caution,) = fit.cautions
    assert caution.kind == "best setting at the edge of its grid"
    assert len(fit.observed) == 15
    assert fit["c"].value == pytest.approx(0.38, rel=1e-6)


def test_an_envelope_needs_one_stage_of_the_decay():
    table = PLANTED["envelope"].table(0.0, 0)
    mixed = form("envelope").fit(
        {**table, "decayed": np.linspace(0, 1, len(table["loss"]))}, 0.9, 9, 0
    )
    assert isinstance(mixed, Refusal)
    assert mixed.kind == "mixed decay stages"
    del table["decayed"]
    assert kinds(fitted("envelope", table).cautions) == {"decay stage unknown"}
    ends = {key: column[curves()["params"] < 2e7] for key, column in table.items()}
    assert isinstance(form("envelope").fit(ends, 0.9, 9, 0), Refusal)


def read(folder, file, chosen=None, **columns):
    with (folder / "scaling" / file).open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if chosen is None or chosen(row)]
    return {
        name: np.array([float(row[of] or "nan") for row in rows]) for name, of in columns.items()
    }


@pytest.mark.data
def test_five_runs_of_gadre_foretell_the_larger_and_longer_ones(shared_data):
    # 2403.08540: five runs on RedPajama. Its table says (from memory) E 1.84, a 212, b 367, eta
    # .136; theirs is least squares of the loss, ours robust and of its log.
    small = {("96", "20"), ("512", "20"), ("576", "20"), ("1024", "20"), ("96", "320")}

    def width(row):
        return row["model"].removeprefix("d=").partition("_")[0], row["token_multiplier"]

    columns = {"params": "N", "tokens": "D", "loss": "loss_c4_val"}
    fit = fitted(
        "over_training",
        read(shared_data, "gadre_rpj_train.csv", lambda row: width(row) in small, **columns),
        resamples=200,
    )
    for name, published in {"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136}.items():
        assert fit[name].value == pytest.approx(published, rel=0.07)
        assert fit[name].low < published < fit[name].high
    large = read(
        shared_data, "gadre_rpj_train.csv", lambda row: row["model"] == "open_lm_1b", **columns
    )
    value, low, high = form("over_training").predict(fit, large, 0.9)
    assert value[0] == pytest.approx(large["loss"][0], rel=0.007)  # the paper's error: .7 %
    assert low[0] < large["loss"][0] < high[0]


@pytest.mark.data
def test_the_routing_law_of_clark_comes_back(shared_data):
    # 2202.01169, table 3 (from memory), S-Base: a -.082, b -.108, c .009, d 1.104, E_start 1.847,
    # E_max 314.478, fitted to more runs than are public.
    def chosen(row):
        plain = (row["k"], row["flop_increase"], row["routing_frequency"]) == ("1", "1", "0.5")
        return row["router_type"] == "S-Base" and plain

    columns = {"active_params": "dense_parameter_count", "experts": "num_experts"}
    table = read(shared_data, "routing_final.csv", chosen, loss="loss_validation", **columns)
    fit = fitted("routing", table, resamples=200)
    published = (-0.082, -0.108, 0.009, 1.104, 1.847, 314.478)
    for parameter, value in zip(fit.parameters, published):
        assert parameter.estimate.low < value < parameter.estimate.high, parameter.name


@pytest.mark.data
def test_accuracy_follows_the_loss_of_the_task_on_public_ladders(shared_data):
    # No published figure: 2412.04403 fits larger models than these. The law must only hold.
    table = read(
        shared_data, "olmo_ladder_upto1B.csv", loss="hellaswag_bpb", accuracy="hellaswag_acc"
    )
    fit = fitted("accuracy_sigmoid", table, resamples=100)
    assert fit.noise < 0.02
    table = read(
        shared_data, "gadre_rpj_train.csv", loss="loss_c4_val", error="hellaswag_zeroshot_err"
    )
    fit = fitted("accuracy_exponential", table | {"accuracy": 1 - table["error"]}, resamples=100)
    assert fit["epsilon"].value == pytest.approx(0.75, abs=0.01)  # one of four endings, by chance
    assert fit.noise < 0.01
