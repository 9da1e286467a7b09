"""Where the runs of a sweep are, read from its directory, and shown."""

import json

import pytest

from lm_lab.library import watching
from lm_lab.runs.sweep import read_sweep, run_directory
from lm_lab.sweeps import overview as overviews
from lm_lab.sweeps.launch import plan
from lm_lab.sweeps.overview import overview
from lm_lab.sweeps.store import write
from lm_lab.types import UserError
from tests.sweeps.test_results import RESULT, resolve, store, study_of

BUDGET = 1e9


@pytest.fixture
def sweep(tmp_path):
    """Of four runs one is complete, one failed, one under way by a quarter, one waits."""
    points = [{"train.steps": None, "train.budget_flops": BUDGET, "seed": n} for n in range(4)]
    study = study_of(points)
    write(tmp_path, study, plan(study, resolve), {"command": ""})
    runs = read_sweep(tmp_path).runs
    store(tmp_path, runs[0], RESULT)
    store(tmp_path, runs[1], {"status": "failed", "message": "out of memory"})
    place = run_directory(tmp_path, runs[2].name)
    place.mkdir(parents=True)
    line = {"step": 3, "train/nll": 2.5, "tokens": 100, "flops": BUDGET / 4}
    (place / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


@pytest.fixture
def under_way(sweep, monkeypatch):
    """The third run is locked, and began ten seconds ago."""
    name = read_sweep(sweep).runs[2].name
    status = overviews.run_status
    monkeypatch.setattr(
        overviews, "run_status", lambda place: "running" if place.name == name else status(place)
    )
    monkeypatch.setattr(overviews, "_began", lambda place: overviews.time.time() - 10)
    return sweep


def test_shares_and_the_time_left_follow_from_what_is_paid(under_way):
    found = overview(under_way)
    assert [run.status for run in found.runs] == ["complete", "failed", "running", "missing"]
    assert [run.share for run in found.runs] == [1.0, 1.0, 0.25, 0.0]
    assert found.share == pytest.approx(2.25 / 4)
    # A quarter took ten seconds: three quarters of this run and the whole of the next are left.
    assert found.seconds_left == pytest.approx(70, rel=0.01)
    assert found.best is not None
    assert found.best.varied == "seed=0"
    assert not found.is_over


def test_runs_that_have_just_begun_are_under_way(under_way):
    place = run_directory(under_way, read_sweep(under_way).runs[2].name)
    (place / "metrics.jsonl").unlink()
    shown = "\n".join(watching.lines(overview(under_way)))
    assert "50% of the compute, time left not known yet" in shown


def test_a_sweep_that_nobody_runs_has_no_time_left(sweep):
    found = overview(sweep)
    assert found.seconds_left is None
    assert [run.status for run in found.runs[2:]] == ["missing", "missing"]
    assert "nothing is under way" in "\n".join(watching.lines(found))


def test_lines_for_a_terminal(under_way):
    text = "\n".join(watching.lines(overview(under_way)))
    assert "4 runs: 1 complete, 1 running, 1 failed, 1 waiting" in text
    assert "0:01:10 left" in text
    assert "25%   2.500  seed=2" in text
    assert "(seed=1): out of memory" in text


def test_the_page_refreshes_itself_until_all_is_over(under_way):
    page = watching.page(overview(under_way), 5.0)
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "out of memory" in page
    assert "http-equiv" not in watching.page(overview(under_way), None)


def test_no_sweep_is_said(tmp_path):
    with pytest.raises(UserError, match=r"no sweep\.json here"):
        overview(tmp_path)
