"""A comparison on planted losses: the order, the compute that would equal it, the cautions, the
page.
"""

import dataclasses
import itertools
import json
import math
from functools import cache

import numpy as np
import pytest
from scipy import stats

from lm_lab.report import write
from lm_lab.report.analyses.comparison import ANALYSIS, drawing, tables, text
from lm_lab.report.analyses.comparison.arms import check
from lm_lab.report.analyses.comparison.candidates import Candidate, outcome
from lm_lab.report.analyses.comparison.cells import Scatter
from lm_lab.report.analyses.comparison.multipliers import multipliers
from lm_lab.report.analyses.comparison.order import compare, decisions
from lm_lab.report.analyses.comparison.records import Settings
from lm_lab.report.analyses.comparison.results import analyse
from lm_lab.report.page import Figure
from lm_lab.report.stored import read
from lm_lab.scaling.records import Estimate
from lm_lab.types import UserError
from tests.report.conftest import write_sweep

ARMS = {"decoder": {"model.family": "decoder"}, "lstm": {"model.family": "rnn"}}
BUDGETS, RATES, NOISE = (1e11, 1e12), (0.5, 1.0, 2.0), 0.004
HANDICAP = 3.0  # the compute that an LSTM needs beyond a decoder's, as planted


def rows(sizes=(500, 1000, 2000)):
    """Losses c^-0.05 at a third of the compute for the LSTM; the best rate is 1, the best size
    1000, and two seeds lie either side.
    """
    made = []
    for arm, shared in ARMS.items():
        for budget in BUDGETS:
            for rate, size, (seed, side) in itertools.product(RATES, sizes, enumerate((-1, 1))):
                compute = budget / (HANDICAP if arm == "lstm" else 1)
                worse = (1 + 0.05 * math.log2(rate) ** 2) * (1 + 0.05 * math.log2(size / 1000) ** 2)
                loss = 8 * compute**-0.05 * worse * math.exp(side * NOISE)
                made.append(
                    {
                        "name": f"{len(made):012x}",
                        "status": "complete",
                        "message": "",
                        **shared,
                        "optimizer.peak_rate": rate,
                        "seed": seed,
                        "train.budget_flops": budget,
                        "budget_flops": budget,
                        "params": size,
                        "params_body": 900,
                        "params_total": size + 200,
                        "tokens": budget / 6000,
                        "flops": budget,
                        "loss": loss * math.log(2),
                        "bits_per_byte": loss,
                        "seconds": 1e-11 * budget * (0.5 if arm == "lstm" else 1),
                        "compile_seconds": 40.0 if arm == "lstm" else 4.0,
                    }
                )
    return made


SETTINGS = Settings(ARMS, "decoder", draws=200)


@cache
def analysed():
    """The results of all rows."""
    return analyse(rows(), SETTINGS)


def test_the_planted_order_noise_and_handicap_come_back():
    results = analysed()
    assert [cell.arm for cell in results.at(1e12)] == ["decoder", "lstm"]
    assert all(
        cell.rate == 1.0 and cell.seeds == 2 and not cell.rate_at_edge for cell in results.cells
    )
    # Two values NOISE either side of their mean have the standard deviation sqrt(2) NOISE.
    assert results.noise.deviation.value == pytest.approx(math.sqrt(2) * NOISE)
    assert results.noise.degrees == len(ARMS) * len(BUDGETS) * 3
    assert all(cell.valley.value == pytest.approx(1000) for cell in results.cells)
    assert [pair.told for pair in results.pairs] == [True, True]
    assert not results.text_apart
    for item in results.multipliers:
        assert item.share.value == pytest.approx(1 / HANDICAP, rel=1e-6)
        assert item.share.low is not None
        assert item.share.low < 1 / HANDICAP
        # two cells of the reference reject no law: one that levels off never gets there
        assert item.share.high is None or item.share.high > 1 / HANDICAP
        assert item.extrapolated == (item.budget == BUDGETS[0])


def test_a_best_rate_at_an_end_is_said():
    ends = [row for row in rows() if row["optimizer.peak_rate"] >= 1]
    assert all(cell.rate_at_edge for cell in analyse(ends, SETTINGS).cells)


@pytest.mark.parametrize(
    "kept, hedge",
    [
        (lambda row: True, "decoder leads by more than seed noise explains."),
        (
            lambda row: row["optimizer.peak_rate"] >= 1,
            "Of the runs that were tried: decoder leads by more than seed noise explains, but the "
            "best peak rate lies at the edge of its grid for every contender: another search may "
            "change the order.",
        ),
        (
            lambda row: row["optimizer.peak_rate"] >= 1 and row["params"] == 1000,
            "but the best peak rate lies at the edge of its grid for every contender; one size "
            "alone was tried of every contender: another search may change the order.",
        ),
        (
            lambda row: (
                row["model.family"] == "decoder"
                or (row["optimizer.peak_rate"], row["params"]) == (1, 1000)
            ),
            "but one peak rate alone was tried of lstm; one size alone was tried of lstm: another "
            "search",
        ),
        (
            lambda row: row["model.family"] == "rnn" or row["params"] >= 1000,
            "but the best size lies at the edge of its range for decoder: another search may "
            "change the order.",
        ),
    ],
)
def test_a_lead_is_hedged_by_what_was_not_searched(kept, hedge):
    answer = text.answer(analyse([row for row in rows() if kept(row)], SETTINGS))
    assert hedge in answer[0]
    hedged = "tried" in answer[0]
    assert all(said.startswith(text.TRIED) == hedged for said in answer[1:3])


def test_compute_that_is_off_its_budget_is_said():
    def noticed(factor):
        more = [row | {"flops": row["flops"] * factor} for row in rows()]
        return [notice.title for notice in text.notices(analyse(more, SETTINGS))]

    assert "Unequal compute" in noticed(1.1)
    assert "Unequal compute" not in noticed(0.96)


def test_one_rate_alone_is_said_and_not_drawn(tmp_path):
    single = [row for row in rows() if row["optimizer.peak_rate"] == 1]
    assert [notice.title for notice in text.notices(analyse(single, SETTINGS))] == [
        "One peak rate alone"
    ]
    write_sweep(tmp_path, rows=single, keys=("model.family",), curves=False)
    report = ANALYSIS.report(analyse(single, SETTINGS), read(tmp_path))
    blocks = [block for section in report.sections for block in section.blocks]
    drawn = [block.name for block in blocks if isinstance(block, Figure)]
    assert drawn == ["costs", "multipliers", "valleys"]


def test_every_contender_is_in_the_legend_of_the_rates():
    late = [
        row for row in rows() if (row["model.family"], row["budget_flops"]) != ("rnn", BUDGETS[0])
    ]
    figure = drawing.rates(analyse(late, SETTINGS), late)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(ARMS)


def test_the_clock_is_that_of_training_with_compiling_apart():
    [words_] = text._clock(analysed().at(BUDGETS[-1]))
    assert words_ == (
        "By the clock the order is another one: a run of lstm trained for 5 s, and one of decoder "
        "for 10 s; compiling, 40 s and 4 s, is not in it."
    )
    table = tables.contenders(analysed())
    shown = dict(zip(table.header, table.rows[-1]))
    assert (shown["seconds"].text, shown["compiling (s)"].text) == ("5.00", "40.0")

    old = [{key: value for key, value in row.items() if key != "compile_seconds"} for row in rows()]
    [words_] = text._clock(analyse(old, SETTINGS).at(BUDGETS[-1]))
    assert words_.endswith("for 10 s, compiling included, which these runs did not time apart.")
    assert (
        dict(zip(table.header, tables.contenders(analyse(old, SETTINGS)).rows[-1]))["compiling (s)"]
        is None
    )


def test_one_seed_gives_no_interval():
    results = analyse([row for row in rows() if row["seed"] == 0], SETTINGS)
    assert results.noise is None
    assert {cell.metric.low for cell in results.cells} == {None}
    assert (
        "decoder is ahead; without a second seed nobody knows how surely" in text.answer(results)[0]
    )


def test_who_is_alone_at_a_budget_leads_nobody():
    alone = [
        row for row in rows() if (row["model.family"], row["budget_flops"]) != ("rnn", BUDGETS[-1])
    ]
    assert "No other contender has a complete run there" in text.answer(analyse(alone, SETTINGS))[0]


def test_contenders_that_share_no_budget_are_refused():
    apart = [
        row
        for row in rows()
        if (row["model.family"] == "rnn") == (row["budget_flops"] == BUDGETS[0])
    ]
    with pytest.raises(UserError, match=r"no two contenders .* set train.budget_flops"):
        analyse(apart, SETTINGS)
    planned = [row | {"status": "missing", "flops": None, "bits_per_byte": None} for row in apart]
    with pytest.raises(UserError, match=r"no two contenders .* set train.budget_flops"):
        check(SETTINGS, planned)
    with pytest.raises(UserError, match=r"no run is one of lstm; mend analysis\.arms"):
        check(SETTINGS, [row for row in planned if row["model.family"] == "decoder"])
    check(SETTINGS, [row | {"status": "missing"} for row in rows()])
    with pytest.raises(
        UserError, match=r"analysis\.metric 'bits_per_bite' .* did you mean 'bits_per_byte'"
    ):
        check(Settings(ARMS, "decoder", "bits_per_bite"), rows())


def test_a_reference_that_gains_nothing_by_compute_is_no_yardstick():
    for slope in (0.0, 1e-9, 0.02):
        flat = {row["name"]: {"bits_per_byte": 1.5 * row["flops"] ** slope} for row in rows()}
        made = [
            row | (flat[row["name"]] if row["model.family"] == "decoder" else {}) for row in rows()
        ]
        results = analyse(made, SETTINGS)
        assert not results.multipliers
        json.dumps(dataclasses.asdict(results), allow_nan=False)
        assert text.answer(results)


@pytest.mark.parametrize(
    "arms, reference, message",
    [
        ({"decoder": {}}, "decoder", "arms must name two contenders"),
        (ARMS, "gru", "reference 'gru' is none of the arms: decoder, lstm"),
    ],
)
def test_settings_that_compare_nothing_are_refused(arms, reference, message):
    with pytest.raises(UserError, match=message):
        Settings(arms, reference)


def test_a_contender_without_runs_is_named():
    with pytest.raises(UserError, match="no complete run of lstm"):
        analyse([row for row in rows() if row["model.family"] == "decoder"], SETTINGS)


def test_the_page_says_it(tmp_path):
    analysis = {"kind": "comparison", "arms": ARMS, "reference": "decoder"}
    write_sweep(
        tmp_path,
        rows=rows(),
        keys=("model.family", "optimizer.peak_rate"),
        analysis=analysis,
        curves=False,
    )
    page = write(tmp_path).read_text()
    assert "decoder leads by more than seed noise explains" in page
    assert json.loads((tmp_path / "analysis.json").read_text())["noise"]["degrees"] == 12
    assert page.count('<img src="data:image/svg+xml;base64,') == 4


def test_other_text_chooses_than_is_reported():
    by_text = [row | {"selection_bits_per_byte": 3 + row["optimizer.peak_rate"]} for row in rows()]
    results = analyse(by_text, SETTINGS)
    assert {cell.rate for cell in results.cells} == {0.5}
    assert results.text_apart
    assert "chosen on other text than is reported" in text.answer(results)[-1]
    assert "chosen on the text that is reported" in text.answer(analysed())[-1]


def test_another_swept_setting_is_no_seed_and_a_rate_that_diverged_is_not_chosen():
    both = [
        row | {"name": f"{row['name']}{batch}", "train.batch_size": batch}
        for row in rows()
        for batch in (8, 16)
    ]
    for row in both:
        row["bits_per_byte"] *= 1 if row["train.batch_size"] == 8 else 1.2
    results = analyse(both, SETTINGS)
    assert results.noise.deviation.value == pytest.approx(math.sqrt(2) * NOISE)
    assert {cell.seeds for cell in results.cells} == {2}

    made = rows()
    for row in made:
        if row["optimizer.peak_rate"] == 1 and row["seed"] == 0:
            row |= {"status": "diverged", "bits_per_byte": None}
    cells = analyse(made, SETTINGS).cells
    assert all(cell.rate != 1.0 and cell.rates == 3 for cell in cells)


def test_the_luck_of_the_best_is_taken_off():
    """Three sizes at three rates, two seeds each, about a vertex of log loss 0: the vertex of the
    lowest means is too low, and what is taken off makes up for it.
    """
    random, size, rate = np.random.default_rng(0), np.log([0.5, 1.0, 2.0]), np.log([0.4, 1.0, 2.5])
    planted = 0.03 * (size[:, None] - 0.1) ** 2 + 0.006 * rate**2
    error, found = 0.01 / math.sqrt(2), []
    for _ in range(200):
        logs = planted[..., None] + 0.01 * random.normal(size=(3, 3, 2))
        tried = [
            Candidate(
                1000 * math.exp(size[i]),
                rate[j],
                {s: dict.fromkeys(("selection", "height"), logs[i, j, s]) for s in (0, 1)},
            )
            for i, j in itertools.product(range(3), range(3))
        ]
        found.append(outcome(tried, 0.01, 100))
    corrected = np.array([each.height for each in found])
    naive = corrected - [each.flattery for each in found]
    # the mean of 200 values of about one standard error each is known within error / 14
    assert naive.mean() < -3 * error / 14
    assert abs(corrected.mean()) < 3 * error / 14
    assert abs(corrected.mean()) < abs(naive.mean()) / 2
    assert corrected.std() == pytest.approx(error, rel=0.2)


def test_pairs_of_one_budget_have_tukeys_intervals():
    level, degrees, arms = 0.9, 18, 6
    cells = [cell_of(f"{n}", 1e12, 2.0 + 0.01 * n) for n in range(arms)]
    settings = Settings({cell.arm: {} for cell in cells}, "0", level=level)
    _, noise = compare(cells, Scatter(0.01, degrees), settings)
    exact = stats.studentized_range.ppf(level, arms, degrees) / math.sqrt(2)
    # 20,000 simulations know a 90 % quantile with a standard error of 0.4 %
    assert noise.critical == pytest.approx(exact, rel=0.02)


def test_decisions_count_pairs_of_the_same_order():
    values = {1e11: (1.0, 1.1, 1.2), 1e12: (1.0, 0.9, 1.2)}
    cells = [
        cell_of(f"{n}", budget, value)
        for budget, three in values.items()
        for n, value in enumerate(three)
    ]
    settings = Settings({"0": {}, "1": {}, "2": {}}, "0")
    pairs, _ = compare(cells, Scatter(1e-3, 9), settings)
    [decision] = decisions(cells, pairs, Scatter(1e-3, 9), settings)
    assert decision.share == Estimate(2 / 3, 2 / 3, 2 / 3)
    assert (decision.pairs, decision.told, decision.told_agreeing) == (3, 3, 2)


def test_a_multiplier_holds_the_form_of_the_law():
    """The reference's loss levels off at E = 1, so that a straight line on log axes promises the
    contender's loss for less compute than it takes.
    """
    budgets, E, needed = (1e10, 1e11, 1e12), 1.0, 6.0

    def loss(flops):
        return E + 500 * flops**-0.25

    cells = [cell_of("decoder", budget, loss(budget)) for budget in budgets]
    cells.append(cell_of("lstm", 1e12, loss(needed * 1e12)))
    [item] = multipliers(cells, Scatter(0.002, 18), SETTINGS)
    assert item.extrapolated
    assert item.share.value < 0.9 * needed
    assert item.share.low < needed
    assert item.share.high is None or needed < item.share.high


def cell_of(arm, budget, bits):
    """A contender at a budget, with the variance of a mean of two seeds."""
    made, metric = analysed().at(BUDGETS[0])[0], Estimate(bits)
    return dataclasses.replace(
        made, arm=arm, budget=budget, flops=budget, variance=0.5, metric=metric
    )
