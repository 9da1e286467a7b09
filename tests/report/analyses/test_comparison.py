"""A comparison on planted losses: the order, the compute that would equal it, the cautions, the
page.
"""

import dataclasses
import itertools
import json
import math

import pytest

from lm_lab.report import write
from lm_lab.report.analyses.comparison import drawing, text
from lm_lab.report.analyses.comparison.results import Settings, analyse, check
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


SETTINGS = Settings(ARMS, "decoder")


def test_the_planted_order_noise_and_handicap_come_back():
    results = analyse(rows(), SETTINGS)
    assert [cell.arm for cell in results.at(1e12)] == ["decoder", "lstm"]
    assert all(
        cell.rate == 1.0 and cell.seeds == 2 and not cell.rate_at_edge for cell in results.cells
    )
    # Two values NOISE either side of their mean have the standard deviation sqrt(2) NOISE.
    assert results.noise == pytest.approx(math.sqrt(2) * NOISE)
    assert results.degrees == len(ARMS) * len(BUDGETS)
    for item in results.multipliers:
        assert item.share.value == pytest.approx(1 / HANDICAP, rel=1e-6)
        assert item.share.low is not None
        assert item.share.high is not None
        assert item.share.low < 1 / HANDICAP < item.share.high
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


def test_one_rate_alone_is_said_and_not_drawn(tmp_path):
    single = [row for row in rows() if row["optimizer.peak_rate"] == 1]
    assert [notice.title for notice in text.notices(analyse(single, SETTINGS))] == [
        "One peak rate alone"
    ]
    analysis = {"kind": "comparison", "arms": ARMS, "reference": "decoder"}
    write_sweep(tmp_path, rows=single, keys=("model.family",), analysis=analysis, curves=False)
    write(tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"costs"}


def test_every_contender_is_in_the_legend_of_the_rates():
    late = [
        row for row in rows() if (row["model.family"], row["budget_flops"]) != ("rnn", BUDGETS[0])
    ]
    figure = drawing.rates(analyse(late, SETTINGS), late)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(ARMS)


def test_the_clock_is_that_of_training_with_compiling_apart():
    [words_] = text._clock(analyse(rows(), SETTINGS).at(BUDGETS[-1]))
    assert words_ == (
        "By the clock the order is another one: a run of lstm trained for 5 s, and one of decoder "
        "for 10 s; compiling, 40 s and 4 s, is not in it."
    )
    table = text.table(analyse(rows(), SETTINGS))
    shown = dict(zip(table.header, table.rows[-1]))
    assert (shown["seconds"].text, shown["compiling (s)"].text) == ("5.00", "40.0")

    old = [{key: value for key, value in row.items() if key != "compile_seconds"} for row in rows()]
    [words_] = text._clock(analyse(old, SETTINGS).at(BUDGETS[-1]))
    assert words_.endswith("for 10 s, compiling included, which these runs did not time apart.")
    assert (
        dict(zip(table.header, text.table(analyse(old, SETTINGS)).rows[-1]))["compiling (s)"]
        is None
    )


def test_one_seed_gives_no_interval():
    results = analyse([row for row in rows() if row["seed"] == 0], SETTINGS)
    assert results.noise is None
    assert {cell.bits_per_byte.low for cell in results.cells} == {None}
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
    assert json.loads((tmp_path / "analysis.json").read_text())["degrees"] == 4
    assert page.count('<img src="data:image/svg+xml;base64,') == 2
