"""What is lost by the rate of a small size: planted parabolas and noise, the words, the page."""

import math

import numpy as np
import pytest

from lm_lab.report.analyses import transfer
from lm_lab.report.analyses.transfer.results import Settings, analyse, check
from lm_lab.report.stored import Sweep
from lm_lab.runs.sweep import SweepRecord
from lm_lab.types import UserError

SMALL = {"model.width": 32, "model.base_width": None}
LARGE = {
    "4 times as wide": {
        "standard": {"model.width": 128, "model.base_width": None},
        "muP": {"model.width": 128, "model.base_width": 32},
    }
}
BEST = {32: 0.01, 128: 0.0025}  # by width, in the standard parametrisation
RATES = tuple(1e-3 * 2.0**step for step in range(6))


def rows(noise=0.0, seeds=3):
    """Losses 2 (1 + 0.05 log(rate / best)^2); by muP the best rate is the small width's."""
    draw = np.random.default_rng(0)
    made = []
    for size in (SMALL, *LARGE["4 times as wide"].values()):
        best = BEST[32] if size["model.base_width"] else BEST[size["model.width"]]
        for rate in RATES:
            for seed in range(seeds):
                loss = 2 * (1 + 0.05 * math.log(rate / best) ** 2) + noise * draw.normal()
                row = {"model.family": "decoder", **size, "optimizer.peak_rate": rate, "seed": seed}
                row |= {"name": f"{len(made)}", "status": "complete"}
                made.append(row | {"loss": loss, "selection_loss": loss})
    return made


def settings(**changes):
    given = {"models": {"decoder": {"model.family": "decoder"}}, "small": SMALL, "large": LARGE}
    return Settings(**given | changes)


def test_what_is_lost_is_that_of_the_planted_parabolas():
    standard, by_width = analyse(rows(), settings()).transfers
    # Parabolas in the log of the rate are found exactly, from the rates about them.
    assert standard.lost.value == pytest.approx(0.05 * math.log(4) ** 2)
    assert standard.shift.value == pytest.approx(1 / 4)
    assert standard.small.best_rate.value == pytest.approx(0.01)
    assert by_width.lost.value == pytest.approx(0, abs=1e-9)
    assert not standard.large.at_edge
    assert not standard.beyond


def test_intervals_come_from_seeds_and_hold_the_truth():
    standard, by_width = analyse(rows(noise=0.002), settings()).transfers
    for found, truth in ((standard.lost, 0.05 * math.log(4) ** 2), (by_width.lost, 0.0)):
        assert found.low is not None
        assert found.high is not None
        assert found.low - 1e-3 < truth < found.high + 1e-3
        assert 0 < found.high - found.low < 0.02
    assert analyse(rows(seeds=1), settings()).transfers[0].lost.low is None


def test_a_rate_at_which_the_large_size_diverges_loses_all():
    made = rows()
    for row in made:
        if row["model.width"] == 128 and row["optimizer.peak_rate"] > 0.005:
            row |= {"status": "diverged", "loss": None, "selection_loss": None}
    standard, _ = analyse(made, settings()).transfers
    assert standard.beyond
    assert transfer.lost_words(standard) == "all: it diverges"


def test_the_page_says_what_is_lost_and_warns_of_edges(tmp_path):
    made = [row for row in rows(noise=0.002) if row["optimizer.peak_rate"] > 0.002]
    results = analyse(made, settings())
    page = transfer.report(
        results, Sweep(tmp_path, SweepRecord(name="s", runs=[], created="2026"), [])
    )
    assert page.answer[0].startswith("4 times as wide, at the best peak rate of the small size")
    assert "(standard) and" in page.answer[0]
    (caution,) = page.sections[0].blocks
    assert "decoder, 4 times as wide, standard" in caution.message
    for figure in page.sections[1].blocks:
        figure.draw()


def test_a_plan_without_three_rates_is_refused():
    few = [row for row in rows() if row["optimizer.peak_rate"] < 0.003]
    with pytest.raises(UserError, match=r"decoder, the small size: 2 values of .* needs 3; mend"):
        check(settings(), few)
    with pytest.raises(UserError, match="finish the sweep"):
        analyse(few, settings())
    with pytest.raises(UserError, match=r"large\.a must hold overrides by name"):
        settings(large={"a": 3})
