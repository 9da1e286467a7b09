"""Curves of a metric against a setting: planted means and noise, the words, the page."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lm_lab.report.analyses import curves
from lm_lab.report.analyses.curves.results import Settings, analyse, check
from lm_lab.report.stored import Sweep
from lm_lab.runs.sweep import SweepRecord
from lm_lab.types import UserError

ARMS = {"pre-trained": {"train.initial": "runs/a"}, "from scratch": {"train.initial": None}}
LABELS, NOISE = (1000, 10000), 0.004


def rows(rates=(0.1,), seeds=3):
    """Accuracies .7 and .8 from scratch and .1 more where pre-trained; the rate .1 is the best."""
    draw = np.random.default_rng(0)
    return [
        {
            "name": f"{arm}-{labels}-{rate}-{seed}",
            "status": "complete",
            "optimizer.peak_rate": rate,
            "data.train_documents": labels,
            **shared,
            "accuracy": 0.6
            + 0.1 * (math.log10(labels) - 2)
            + 0.1 * (arm == "pre-trained")
            - 0.05 * abs(rate - 0.1)
            + NOISE * draw.normal(),
        }
        for arm, shared in ARMS.items()
        for labels in LABELS
        for rate in rates
        for seed in range(seeds)
    ]


def settings(**changes):
    return Settings(
        **{"metric": "accuracy", "against": "data.train_documents", "arms": ARMS} | changes
    )


def test_points_are_means_with_the_noise_of_seeds_pooled_over_arms():
    made = rows()
    results = analyse(made, settings())
    assert [(point.at, point.arm) for point in results.points] == [
        (1000, "pre-trained"),
        (1000, "from scratch"),
        (10000, "pre-trained"),
        (10000, "from scratch"),
    ]
    groups = [
        np.array([row["accuracy"] for row in made if row["name"].startswith(f"{arm}-1000-")])
        for arm in ARMS
    ]
    deviation = math.sqrt(sum(((each - each.mean()) ** 2).sum() for each in groups) / 4)
    half = stats.t.ppf(0.95, 4) * deviation / math.sqrt(3)
    first = results.points[0].value
    assert first.value == pytest.approx(groups[0].mean())
    assert first.low is not None
    assert first.high is not None
    assert (first.high - first.low) / 2 == pytest.approx(half)
    assert results.told(*results.at(1000)) is True


def test_the_choice_of_held_out_items_is_part_of_the_noise():
    results = analyse(rows(seeds=1), settings(items=400))
    point = results.points[0].value
    half = stats.norm.ppf(0.95) * math.sqrt(point.value * (1 - point.value) / 400)
    assert point.high == pytest.approx(point.value + half)
    assert results.told(*results.at(1000)) is None
    assert analyse(rows(seeds=1), settings()).points[0].value.low is None


def test_the_best_of_what_else_was_swept_is_taken_and_named():
    results = analyse(rows(rates=(0.01, 0.1, 1.0)), settings())
    assert {point.settings for point in results.points} == {"optimizer.peak_rate=0.1"}
    lower = analyse(rows(rates=(0.1, 1.0)), settings(better="lower"))
    assert lower.points[0].arm == "from scratch"
    assert lower.points[0].settings == "optimizer.peak_rate=1.0"


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(UserError, match=r"analysis\.against 'data\.labels' is varied by no run"):
        check(settings(against="data.labels"), rows())
    with pytest.raises(UserError, match="no run is one of gone; mend"):
        check(settings(arms={"gone": {"train.initial": "x"}}), rows())
    with pytest.raises(UserError, match="is measured by no complete run; did you mean 'accuracy'"):
        analyse(rows(), settings(metric="acuracy"))


def test_an_arm_without_a_complete_run_is_named():
    made = rows()
    for row in made:
        if row["name"].startswith("from scratch"):
            row |= {"status": "failed", "accuracy": None}
    results = analyse(made, settings())
    assert results.absent == (("from scratch", (1000.0, 10000.0)),)
    stored = Sweep(Path(), SweepRecord(name="labels", runs=[], created="2026"), [])
    (notice,) = curves.report(results, stored).sections[0].blocks
    assert "from scratch: no run at data.train_documents = 1,000 and 10,000" in notice.message


def test_points_that_stand_side_by_side_stay_near_their_value_and_within_the_axis():
    many = {f"arm {number}": {"optimizer.peak_rate": number} for number in range(1, 9)}
    made = [
        {
            "name": f"{arm}-{steps}",
            "status": "complete",
            "train.steps": steps,
            **point,
            "accuracy": 0.5,
        }
        for arm, point in many.items()
        for steps in (4, 6)
    ]
    results = analyse(made, settings(arms=many, against="train.steps"))
    (axes,) = curves.drawing.curves(results).axes
    low, high = axes.get_xlim()
    drawn = [at for line in axes.lines for at in line.get_xdata()]
    assert low < min(drawn) < max(drawn) < high
    assert max(at for at in drawn if at < 5) < 4.1
    assert min(at for at in drawn if at > 5) > 5.9


def test_the_page(tmp_path):
    results = analyse(rows(seeds=2), settings(known={"floor <of words>": 0.75}, items=1000))
    stored = Sweep(tmp_path, SweepRecord(name="labels", runs=[], created="2026"), [])
    page = curves.report(results, stored)
    assert page.answer[1].startswith(
        "At data.train_documents = 10,000, pre-trained has the highest"
    )
    figure = curves.drawing.curves(results)
    assert "floor" in "".join(text.get_text() for text in figure.axes[0].texts)
