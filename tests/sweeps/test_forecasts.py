"""A forecast of held-out runs is registered once, before any of them begins."""

import io
import json
import subprocess

import pytest

from lm_lab.contracts import Outcome
from lm_lab.runs.forecasts import Forecast, hash_of_results
from lm_lab.runs.sweep import read_sweep
from lm_lab.sweeps.algebra import chain, param
from lm_lab.sweeps.forecasts import Forecasting
from lm_lab.sweeps.launch import launch
from lm_lab.sweeps.results import collect
from lm_lab.types import UserError
from tests.sweeps.fakes import command_in, invocations, resolve, study_of

ENVIRONMENT = {"command": "lm-lab sweep fake", "devices": {"platform": "cpu"}}
FITTED = param("model.width", [16, 32, 64])
HELD = param("model.width", [128, 256])


class OneByOne:
    """Units run one after the other; `dies_before` a unit of that number, counted from 0."""

    workers = 2

    def __init__(self, dies_before=None):
        self.dies_before, self.count = dies_before, 0

    def run(self, units):
        for unit in units:
            if self.count == self.dies_before:
                raise KeyboardInterrupt
            self.count += 1
            ended = subprocess.run(unit.command, capture_output=True, text=True, check=False)
            yield Outcome(unit, ended.returncode, ended.stderr.strip())


@pytest.fixture
def start(tmp_path):
    (tmp_path / "sweep").mkdir()

    def run(sweep, value=2.0, runner=None, forecasting=True):
        """The printed lines; the forecast is `value`."""

        def forecast(fitted, held):
            assert all(row["loss"] == 2.5 for row in fitted)
            assert [row["params"] for row in held] == [7] * len(held)
            return Forecast(
                target="loss", predictor="guess", predicted=value, low=1, high=3, level=0.9
            )

        fake = Forecasting(
            held_out=lambda row: (row["model.width"] or 0) >= 128,
            forecast=forecast,
            sizes=lambda planned: {each.name: {"params": 7} for each in planned},
        )
        stream, own = io.StringIO(), runner or OneByOne()
        command = command_in(tmp_path)
        launch(
            study_of(sweep),
            tmp_path / "sweep",
            resolve,
            command,
            lambda platform, costs: own,
            environment=lambda: ENVIRONMENT,
            stream=stream,
            forecasting=fake if forecasting else None,
        )
        return stream.getvalue()

    return run


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "sweep"


def widths(directory):
    """Widths of the runs that workers began, in order."""
    configs = {run.name: run.config["model"]["width"] for run in read_sweep(directory).runs}
    return [configs[name] for name, *_ in invocations(directory)]


def test_held_out_runs_begin_after_their_forecast_is_registered(start, directory):
    printed = start(chain(HELD, FITTED))
    assert "forecast registered: loss: 2 [1, 3], by the guess" in printed
    assert sorted(widths(directory)[:3]) == [16, 32, 64]
    assert sorted(widths(directory)[3:]) == [128, 256]
    (registered,) = read_sweep(directory).forecasts
    assert registered.is_intact
    assert registered.left_out == []
    rows = collect(directory)
    fitted = [row for row in rows if row["name"] in registered.fitted]
    assert [row["model.width"] for row in fitted] == [16, 32, 64]
    assert registered.results_sha256 == hash_of_results(fitted, {"kind": "table"})
    assert registered.results_sha256 != hash_of_results(rows, {"kind": "table"})
    assert registered.results_sha256 != hash_of_results(fitted, {"kind": "table", "seed": 1})
    held = {row["name"] for row in rows if row["model.width"] >= 128}
    assert set(registered.held_out) == held


@pytest.mark.parametrize("unit", range(5))
def test_a_launch_that_dies_anywhere_registers_once_and_the_next_changes_nothing(
    start, directory, unit
):
    sweep = chain(FITTED, HELD)
    with pytest.raises(KeyboardInterrupt):
        start(sweep, runner=OneByOne(dies_before=unit))
    before = read_sweep(directory).forecasts
    assert len(before) == (unit >= 3)
    begun = widths(directory)
    assert unit >= 3 or not set(begun) & {128, 256}
    printed = start(sweep, value=9.0)
    (registered,) = read_sweep(directory).forecasts
    assert registered.forecast.predicted == (2.0 if unit >= 3 else 9.0)
    assert before in ([], [registered])
    assert ("forecast registered" in printed) == (unit < 3)
    assert sorted(widths(directory)) == [16, 32, 64, 128, 256]  # nothing is done twice
    assert start(sweep, value=5.0) == ""


def test_a_failed_run_holds_the_forecast_back_until_it_was_tried_again(start, directory):
    sweep = chain(FITTED, [{"model.fate": "crash"}], HELD)
    printed = start(sweep)
    assert "1 of the runs that the forecast is fitted to failed" in printed
    assert "the 2 held-out runs wait for it: launch again" in printed
    assert read_sweep(directory).forecasts == []
    assert not set(widths(directory)) & {128, 256}
    start(sweep)
    (registered,) = read_sweep(directory).forecasts
    assert len(registered.left_out) == 1
    assert len(registered.fitted) == 3
    assert set(widths(directory)) >= {128, 256}


def test_a_sweep_whose_held_out_runs_have_begun_registers_nothing(start, directory):
    start(HELD[:1], forecasting=False)
    assert "forecast" not in start(chain(HELD, FITTED))
    assert read_sweep(directory).forecasts == []
    assert len(widths(directory)) == 5


def test_a_held_out_run_that_the_study_lost_has_begun_all_the_same(start, directory):
    start(chain(FITTED, param("model.width", [128])), forecasting=False)
    start(FITTED)  # the run stays in the directory
    start(chain(FITTED, param("model.width", [256])))
    assert read_sweep(directory).forecasts == []


def test_a_study_that_grows_keeps_its_forecast(start, directory):
    start(chain(FITTED, HELD))
    first = read_sweep(directory).forecasts
    start(chain(FITTED, HELD, param("model.width", [512])), value=7.0)
    assert read_sweep(directory).forecasts == first
    assert widths(directory)[-1] == 512


def test_what_was_edited_afterwards_is_known(start, directory):
    start(chain(FITTED, HELD))
    path = directory / "sweep.json"
    content = json.loads(path.read_text())
    content["forecasts"][0]["forecast"]["predicted"] = 2.5
    path.write_text(json.dumps(content))
    assert not read_sweep(directory).forecasts[0].is_intact
    del content["forecasts"][0]["seal"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"not a registered forecast \(seal is absent\)"):
        read_sweep(directory)
