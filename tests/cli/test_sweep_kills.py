"""A sweep that is killed, launcher or worker, ends in the rows of one that was left alone; failures
are named.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.cli.cli_helpers import (
    assert_same_run,
    killed_at,
    lm_lab,
    lm_lab_anew,
    records,
    rows,
    start,
    stored,
)
from tests.sweeps.fakes import wait_for

pytestmark = pytest.mark.processes

STUDY = """
import importlib.util
from pathlib import Path
from lm_lab.sweeps.algebra import chain, param, product
from lm_lab.sweeps.study import Study

def study():
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    three = product(param("seed", [0, 1, 2]), param("optimizer.peak_rate", [3e-3]))
    fails, diverges = [{"mesh.data": 3}], [{"optimizer.peak_rate": 1e30}]
    whole = "whole" in __file__
    points = chain(fails, three, diverges) if whole else chain(three[:2], diverges)
    return Study("tiny", "Does it end?", tiny.get_config(), points, {"kind": "isoflop"})
"""
POPULATION = slice(1, 5)  # runs that differ in their seeds and rates only are trained together


@pytest.fixture
def part(home: Path) -> Path:
    """A study of three of the runs, one of which diverges."""
    path = home / "part.py"
    path.write_text(STUDY)
    return path


@pytest.fixture
def sweep(home: Path) -> Path:
    """A sweep that nobody interrupted; made once a session."""
    folder, study = home / "sweep", home / "whole.py"
    if not folder.exists():
        study.write_text(STUDY)
        ended = lm_lab_anew("sweep", study, f"--workdir={folder}", "--workers=1")
        assert ended.returncode == 1, ended.stderr  # one run failed
        assert "5 runs: 3 complete, 1 diverged, 1 failed" in ended.stdout
    return folder


def test_one_diverged_and_one_failed_run_do_not_stop_the_others_and_are_named(sweep: Path):
    states = [(row["status"], row["message"]) for row in rows(sweep)]
    assert [status for status, _ in states] == ["failed", *["complete"] * 3, "diverged"]
    page = (sweep / "report.html").read_text()
    for status, message in states:
        assert status == "complete" or message.split(";")[0] in page
    assert "config.mesh: data 3" in states[0][1]
    assert "no longer finite at step" in states[4][1]


def test_a_sweep_whose_launcher_is_killed_ends_in_the_same_rows_and_then_redoes_nothing(
    tmp_path: Path, part: Path, sweep: Path
):
    words = ("sweep", part, f"--workdir={tmp_path}", "--workers=2")
    with start(*words) as launcher:
        wait_for(lambda: list(tmp_path.glob("runs/*/metrics.jsonl")), seconds=60)
        os.kill(launcher.pid, signal.SIGKILL)
    ended = lm_lab(*words)
    assert ended.returncode == 0, ended.stderr
    found, wanted = rows(tmp_path), {row["name"]: row for row in rows(sweep)}
    assert [row["status"] for row in found] == ["complete", "complete", "diverged"]
    assert found == [{key: wanted[row["name"]][key] for key in row} for row in found]
    complete = [row["name"] for row in found if row["status"] == "complete"]
    for name in complete:
        assert_same_run(tmp_path / "runs" / name, sweep / "runs" / name)

    before = {name: stored(tmp_path / "runs" / name) for name in complete}
    assert lm_lab(*words).returncode == 0
    assert {name: stored(tmp_path / "runs" / name) for name in complete} == before
    assert rows(tmp_path) == found


def test_members_that_a_kill_left_at_different_steps_end_in_the_same_bits(
    tmp_path: Path, sweep: Path
):
    shutil.copy(sweep / "sweep.json", tmp_path)
    names = [row["name"] for row in rows(sweep)][POPULATION]

    def killed(point: str, call: int) -> int:
        ended = killed_at("SIGKILL", point, call, "members", tmp_path, *names)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        return len(list(tmp_path.glob("runs/*/result.json")))

    assert (
        killed("lm_lab.runs.commits.surplus", 4) == 1
    )  # diverged; the others are in their second save
    assert killed("lm_lab.runs.records.write_result", 1) == 1  # all are at the last step
    behind = tmp_path / "runs" / names[1] / "checkpoints"
    shutil.rmtree(behind / "step_00000060")  # as if it had been killed before this commit
    (behind / "LAST_GOOD").write_text("step_00000050\n")
    assert killed("lm_lab.runs.records.write_result", 2) == 2  # one has its result, two have not
    assert lm_lab("members", tmp_path, *names).returncode == 1  # one diverged
    for name in names[:3]:
        assert_same_run(tmp_path / "runs" / name, sweep / "runs" / name)
    assert records(tmp_path / "runs" / names[3]) == records(sweep / "runs" / names[3])
