"""A sweep from end to end with fake workers: finished, resumed after every
fault, nothing redone.
"""

import collections
import csv
import io
import json
import re
import signal
from pathlib import Path

import pytest

from lm_lab.cli.main import dispatch
from lm_lab.contracts import UnitCosts
from lm_lab.runs.commits import LOCK
from lm_lab.runs.locks import Lock
from lm_lab.runs.sweep import read_sweep, run_directory
from lm_lab.sweeps.algebra import chain, param, product
from lm_lab.sweeps.executors.local import LocalProcesses
from lm_lab.sweeps.launch import launch
from lm_lab.sweeps.results import status
from lm_lab.sweeps.store import plan
from lm_lab.types import UserError
from tests import forked
from tests.sweeps.fakes import alive, command_in, invocations, resolve, study_of, wait_for

pytestmark = pytest.mark.processes
ENVIRONMENT = {"command": "lm-lab sweep fake", "devices": {"platform": "cpu"}}
SWEEP = product(param("model.width", [16, 32, 64]), param("seed", [0, 1]))


def two_workers(platform: str, costs: UnitCosts) -> LocalProcesses:
    return LocalProcesses(2)


@pytest.fixture
def start(tmp_path):
    (tmp_path / "sweep").mkdir()

    def run(sweep, name="fake", resolve=resolve):
        stream = io.StringIO()
        study = study_of(sweep, name)
        summary = launch(
            study,
            tmp_path / "sweep",
            resolve,
            command_in(tmp_path),
            two_workers,
            environment=lambda: ENVIRONMENT,
            stream=stream,
        )
        return summary, stream.getvalue()

    return run


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "sweep"


def names_of(sweep):
    return [run.name for run in plan(study_of(sweep), resolve)]


def test_every_run_is_run_once_and_a_relaunch_does_nothing(start, directory):
    summary, printed = start(SWEEP)
    assert summary.finished
    assert [row["name"] for row in summary.rows] == names_of(SWEEP)
    assert "6 of 6 runs, 0 left" in printed
    assert sorted(name for name, *_ in invocations(directory)) == sorted(names_of(SWEEP))
    files = {
        path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.suffix == ".json"
    }
    again, printed = start(SWEEP)
    assert (again.rows, again.started, printed) == (summary.rows, [], "")
    assert len(invocations(directory)) == 6
    assert files == {
        path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.suffix == ".json"
    }


def test_the_folder_of_another_run_is_not_believed(start, directory):
    start(SWEEP[:2])
    one, other = (directory / "runs" / name for name in names_of(SWEEP[:2]))
    for run in (one, other):
        (run / "config.json").write_text(json.dumps({"identity": run.name}))
    assert start(SWEEP[:2])[0].finished
    (other / "config.json").write_bytes((one / "config.json").read_bytes())
    with pytest.raises(
        UserError, match=f"{other.name} holds the run {one.name}, not {other.name}; move it away"
    ):
        start(SWEEP[:2])


def test_branches_wait_for_their_trunks(start, directory):
    branch = {"train.steps": 5, "train.branch_step": 4, "model.fate": "complete"}
    trunk = {"train.steps": 10, "train.keep_steps": [4]}
    start(product(param("seed", [0, 1, 2]), [branch, trunk]))
    planned = {run.name: run.overrides for run in read_sweep(directory).runs}
    steps = [planned[name]["train.steps"] for name, *_ in invocations(directory)]
    assert steps == [10] * 3 + [5] * 3


def test_runs_of_one_program_share_a_worker_and_its_log(start, directory):
    start(param("seed", range(16)))
    by_pid = collections.Counter(pid for _, pid, _ in invocations(directory))
    assert list(by_pid.values()) == [4, 4, 4, 4]
    assert len(list(directory.glob("runs/*/log.txt"))) == 4


def test_faults_are_named_and_stop_nobody(start, directory):
    sweep = chain(SWEEP, param("model.fate", ["crash", "diverge"]))
    summary, printed = start(sweep)
    assert collections.Counter(status(directory).values()) == {
        "complete": 6,
        "failed": 1,
        "diverged": 1,
    }
    (failed,), (diverged,) = summary.having("failed"), summary.having("diverged")
    assert (failed["message"], diverged["message"]) == ("out of luck", "loss is nan at step 3")
    log = f"runs/{failed['name']}/log.txt"
    assert f"run {failed['name']} (model.fate=crash): failed: out of luck (see {log})" in printed
    assert (
        f"run {diverged['name']} (model.fate=diverge): diverged: loss is nan at step 3" in printed
    )
    assert (directory / log).read_text() == "half way\nout of luck\n"
    assert not summary.finished
    with (directory / "results.csv").open() as file:
        assert [row["message"] for row in csv.DictReader(file)][6:] == [
            "out of luck",
            "loss is nan at step 3",
        ]


def test_a_relaunch_retries_what_failed_and_nothing_else(start, directory):
    sweep = chain(SWEEP, param("model.fate", ["crash", "diverge"]))
    start(sweep)
    assert start(sweep)[0].having("failed")[0]["message"] == "out of luck"
    (directory / "mended").touch()
    summary, _ = start(sweep)
    assert summary.finished
    assert summary.started == names_of([{"model.fate": "crash"}])
    counts = collections.Counter(name for name, *_ in invocations(directory))
    assert counts.pop(summary.started[0]) == 3
    assert set(counts.values()) == {1}


def test_a_failed_unit_fails_those_of_its_runs_that_have_no_result(start, directory):
    sweep = product(param("model.fate", ["crash"]), param("seed", range(5)))
    summary, _ = start(sweep)
    assert [row["message"] for row in summary.having("failed")] == ["out of luck"] * 5


def test_a_run_in_use_is_left_alone(start, directory):
    name = names_of(SWEEP)[0]
    run = run_directory(directory, name)
    (run / "checkpoints").mkdir(parents=True)
    with Lock(run / "checkpoints" / LOCK):
        summary, printed = start(SWEEP)
        assert [row["name"] for row in summary.having("running")] == [name]
    assert "in use by another process" in printed
    assert not (run / "result.json").exists()
    assert start(SWEEP)[0].started[0] == name


def test_a_study_grows_and_equal_points_run_once(start, directory):
    start(param("seed", [0, 1]))
    summary, printed = start(chain(param("seed", [0, 1, 2]), [{}, {"model.width": 16}]))
    assert "5 points are 3 different runs" in printed
    assert summary.started == names_of([{"seed": 2}])
    assert len(read_sweep(directory).runs) == 3


def test_a_study_that_grew_and_shrinks_redoes_nothing(start, directory):
    start(param("seed", [0, 1]))
    start(param("seed", [0, 1, 2, 3]))
    summary, printed = start(param("seed", [3, 1]))
    assert "2 runs that the study has no more stay" in printed
    assert summary.started == []
    assert [row["name"] for row in summary.rows] == names_of(param("seed", [3, 1]))
    assert list(status(directory).values()) == ["complete"] * 2
    summary, _ = start(param("seed", range(5)))
    assert summary.started == names_of([{"seed": 4}])
    assert len(summary.having("complete")) == 5
    assert read_sweep(directory).former == []
    assert len(invocations(directory)) == 5


def test_mistakes_touch_nothing(start, directory):
    start(param("seed", [0, 1]))

    def times():
        files = [path for path in directory.rglob("*") if path.is_file()]
        return {path: path.stat().st_mtime_ns for path in files if path.stem != "lock"}

    before = times()

    def refuse(overrides):
        raise UserError("config.modle does not exist; did you mean 'model'?")

    with pytest.raises(UserError, match="holds study 'fake', not 'other'"):
        start(param("seed", [0, 1]), "other")
    with pytest.raises(UserError, match="no longer has, first: seed=1"):
        start(param("seed", [0, 2]))
    with pytest.raises(UserError, match=r"point 1 of 2 \(seed=0\): config.modle does not exist"):
        start(param("seed", [0, 1]), resolve=refuse)
    with Lock(directory / "lock"), pytest.raises(UserError, match="in use by pid"):
        start(param("seed", [0, 1, 2]))
    assert times() == before


LAUNCHER = """
import sys
from pathlib import Path
from lm_lab.sweeps import launch
from tests.sweeps.fakes import command_in, resolve, study_of
from tests.sweeps.test_launch import ENVIRONMENT, WAITING, two_workers
folder = Path(sys.argv[1])
command, environment = command_in(folder), lambda: ENVIRONMENT
sweep = folder / "sweep"
launch.launch(study_of(WAITING), sweep, resolve, command, two_workers, environment=environment)
"""
WAITING = chain(
    param("model.width", [32, 64]),
    product(param("model.fate", ["wait"]), param("model.width", [2, 4, 8])),
)


def finished_in(directory: Path) -> set[str]:
    return {path.parent.name for path in directory.glob("runs/*/result.json")}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_launch_is_finished_by_the_next_and_nothing_is_redone(
    start, tmp_path, directory, number, capsys
):
    waiting = names_of(WAITING)[2:]
    with forked.fork("-c", LAUNCHER, str(tmp_path)) as launcher:
        begun = wait_for(lambda: [line for line in invocations(directory) if line[0] in waiting])
        assert dispatch(["status", str(directory)]) == 0  # from this process, while that one waits
        assert re.search(r"fake: 5 runs: .*[12] running", capsys.readouterr().out)
        launcher.send_signal(number)
        launcher.wait()
    wait_for(lambda: not any(alive(int(pid)) for _, pid, _ in invocations(directory)))
    done = finished_in(directory)
    assert not done & set(waiting)
    if number == signal.SIGTERM:
        assert json.loads((directory / "sweep.json").read_text())["name"] == "fake"
        assert (directory / "results.csv").exists()
        assert "failed" not in status(directory).values()
    (directory / "go").touch()
    summary, _ = start(WAITING)
    assert summary.finished
    assert len(summary.having("complete")) == 5
    assert set(summary.started) == set(names_of(WAITING)) - done
    counts = collections.Counter(name for name, *_ in invocations(directory))
    assert all(counts[name] == 1 for name in done)
    assert counts[begun[0][0]] == 2
