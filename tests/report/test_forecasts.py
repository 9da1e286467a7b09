"""A forecast is what the analysis predicts without the held-out results, and the report says
whether it came first and whether it held.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from lm_lab.cli import forecasts as command
from lm_lab.report import forecasts, stored
from lm_lab.report.analyses.isoflop import ANALYSIS
from lm_lab.report.analyses.isoflop.forecast import FORECASTER
from lm_lab.report.analyses.isoflop.results import Settings, analyse_column
from lm_lab.runs.forecasts import Forecast, Registered, hash_of_results, sealed
from lm_lab.runs.sweep import read_sweep, write_sweep

RESULTS = ("loss", "bits_per_byte", "seconds", "compile_seconds", "message")
HELD = 3e12


@pytest.fixture(scope="module")
def study(sweep: Path) -> stored.Sweep:
    return stored.read(sweep)


@pytest.mark.parametrize("predictor", ["surface", "valley power law"])
def test_a_forecast_is_the_prediction_that_the_analysis_makes_afterwards(study, predictor):
    settings = Settings(held_out_budget=HELD, predictor=predictor, draws=20)
    fitted = [row for row in study.rows if not FORECASTER.held_out(settings, row)]
    held = [row for row in study.rows if FORECASTER.held_out(settings, row)]
    assert {row["budget_flops"] for row in held} == {HELD}
    planned = [row | dict.fromkeys(RESULTS) | {"status": "missing"} for row in held]
    forecast = FORECASTER.forecast(fitted, planned, settings)
    after = analyse_column(study.rows, "params", settings).held_out
    assert after is not None
    # the stand-ins for losses that nobody knows yet change nothing
    assert (forecast.predicted, forecast.low, forecast.high) == pytest.approx(
        (after.predicted.value, after.predicted.low, after.predicted.high), rel=0.01
    )
    assert FORECASTER.observe(held, settings) == after.observed
    assert forecast.covers(after.observed) == after.inside
    assert forecast.law


def test_what_cannot_be_predicted_is_refused_in_words(study):
    settings = Settings(held_out_budget=HELD, draws=20)
    held = [row | {"params": None} for row in study.rows if row["budget_flops"] == HELD]
    few = [row for row in study.rows if row["budget_flops"] == 1e11]
    assert "cannot be counted" in FORECASTER.forecast(few, held, settings).refusal
    sized = [row for row in study.rows if row["budget_flops"] == HELD]
    refused = FORECASTER.forecast(few, sized, settings)
    assert refused.predicted is None
    assert refused.refusal
    assert "no fitted run has a loss" in FORECASTER.forecast([], sized, settings).refusal


def registered_in(study: stored.Sweep, **changes) -> Registered:
    fitted = [row for row in study.rows if row["budget_flops"] < HELD]
    own = Forecast(
        target="lowest loss at 3e+12 FLOPs",
        predictor="surface",
        law={"E": 0.6},
        predicted=1.4,
        low=1.3,
        high=1.5,
        level=0.9,
    )
    made = Registered(
        forecast=dataclasses.replace(own, **changes),
        date="2026-11-21T12:00:00+00:00",
        analysis=study.study.analysis,
        fitted=[row["name"] for row in fitted],
        left_out=[],
        held_out=[
            row["name"]
            for row in study.rows
            if row["budget_flops"] == HELD and row["status"] != "failed"
        ],
        results_sha256=hash_of_results(fitted, study.study.analysis),
    )
    return sealed(made)


def with_forecast(study: stored.Sweep, registered: Registered) -> stored.Sweep:
    rows = [row for row in study.rows if row["status"] != "failed"]
    record = dataclasses.replace(study.study, forecasts=[registered])
    return stored.Sweep(study.directory, record, rows)


def test_the_report_says_what_was_registered_and_what_came(study):
    sweep = with_forecast(study, registered_in(study))
    (words,) = forecasts.statements(sweep, ANALYSIS)
    assert words.startswith("Registered on 2026-11-21, 12:00 UTC, before any held-out run began")
    observed = FORECASTER.observe(
        [row for row in sweep.rows if row["budget_flops"] == HELD], Settings(held_out_budget=HELD)
    )
    assert observed is not None
    assert f"Observed: {observed:.4g}" in words
    assert "But" not in words
    for high, place in ((observed + 0.1, "inside"), (observed - 0.01, "outside")):
        moved = with_forecast(study, registered_in(study, low=1.0, high=high))
        assert f"{place} the interval" in forecasts.statements(moved, ANALYSIS)[0]


def test_a_study_that_registered_nothing_says_so(study):
    assert "was not registered before they began" in forecasts.statements(study, ANALYSIS)[0]
    record = dataclasses.replace(study.study, analysis={"kind": "isoflop"})
    nothing_held = stored.Sweep(study.directory, record, study.rows)
    assert forecasts.statements(nothing_held, ANALYSIS) == []


def test_what_was_changed_after_looking_is_said(study):
    registered = registered_in(study)
    other = dataclasses.replace(
        registered, forecast=dataclasses.replace(registered.forecast, predicted=1.39)
    )
    assert "its seal does not fit" in forecasts.statements(with_forecast(study, other), ANALYSIS)[0]
    sweep = with_forecast(study, registered)
    asked = dataclasses.replace(sweep.study, analysis={**sweep.study.analysis, "level": 0.5})
    words = forecasts.statements(dataclasses.replace(sweep, study=asked), ANALYSIS)[0]
    assert "the analysis was changed after it was registered (level was None, is 0.5)" in words
    rows = [row | {"loss": 9.0} if row["budget_flops"] == 1e11 else row for row in sweep.rows]
    edited = dataclasses.replace(sweep, rows=rows)
    assert "no longer those of its hash" in forecasts.statements(edited, ANALYSIS)[0]


@pytest.mark.parametrize("why", ["failed", "left the study"])
def test_held_out_runs_without_a_result_are_said_and_the_others_compared(study, why):
    sweep = with_forecast(study, registered_in(study))
    *others, last = [row for row in sweep.rows if row["budget_flops"] == HELD]
    kept = [row for row in sweep.rows if row is not last]
    rows = [*kept, last | {"status": "failed"}] if why == "failed" else kept
    words = forecasts.statements(dataclasses.replace(sweep, rows=rows), ANALYSIS)[0]
    assert f"{why}, and the others alone are compared" in words
    observed = FORECASTER.observe(others, Settings(held_out_budget=HELD))
    assert f"Observed: {observed:.4g}" in words


def test_coverage_is_counted_over_studies(study, tmp_path, capsys):
    assert command.run([str(study.directory)]) == 0
    assert "no forecast is registered there" in capsys.readouterr().out
    for name, high in (("one", 9.0), ("two", 1.01), ("three", 9.0)):
        place = tmp_path / name
        place.mkdir()
        shutil.copy(study.directory / "results.csv", place)
        shutil.copy(study.directory / "sweep.json", place)
        record = dataclasses.replace(
            read_sweep(place), forecasts=[registered_in(study, low=1.0, high=high)]
        )
        write_sweep(place, record)
        assert read_sweep(place) == record
        failed = (place / "results.csv").read_text().replace("failed", "diverged")
        (place / "results.csv").write_text(failed)
    assert command.run([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 5
    assert "2 of 3 registered forecasts held" in printed
    assert "(2.7 expected)" in printed
    assert json.loads((tmp_path / "one" / "sweep.json").read_text())["forecasts"]
