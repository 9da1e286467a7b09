"""Tasks of a Ray cluster on this machine: outcomes, retries, cancelling, and what cannot be."""

import dataclasses
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from lm_lab.sweeps import process
from lm_lab.sweeps.executors import choose, ray
from lm_lab.types import UserError
from tests.sweeps.fakes import alive, no_costs, wait_for

pytestmark = [
    pytest.mark.processes,
    # Ray forks this process, in which earlier tests may have used JAX, and the fork becomes another
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two cores, to which this process is connected."""
    module = pytest.importorskip("ray")
    choose("ray", {})("cpu", no_costs)
    yield module
    module.shutdown()


def tasks(**settings):
    return choose("ray", {"workers": 2, **settings})("cpu", no_costs)


def by_name(outcomes):
    return {outcome.unit.names[0]: outcome for outcome in outcomes}


def test_outcomes_say_how_and_why(cluster, unit, monkeypatch):
    monkeypatch.setenv("LM_LAB_CACHE", "sent")
    scripts = {
        "good": "echo $LM_LAB_CACHE; pwd; grep Cpus_allowed_list /proc/self/status",
        "bad": "echo half; echo; echo 'no luck' >&2; exit 3",
        "mute": "exit 4",
    }
    units = [unit(name, script) for name, script in scripts.items()]
    outcomes = by_name(tasks().run(units))
    assert {name: outcome.code for name, outcome in outcomes.items()} == {
        "good": 0,
        "bad": 3,
        "mute": 4,
    }
    host = socket.gethostname()
    assert outcomes["bad"].message == f"no luck (on {host})"
    assert outcomes["mute"].message == f"ended with exit code 4 and no result (on {host})"
    assert units[1].log.read_text() == "half\n\nno luck\n"
    sent, folder, _, core = units[0].log.read_text().split()
    assert (sent, folder) == ("sent", str(Path.cwd()))
    assert core.isdigit()


def test_what_was_killed_or_asks_to_be_resumed_begins_again_as_often_as_allowed(
    cluster, unit, tmp_path
):
    hung = unit("hung", f"echo try >> {tmp_path}/hung; exit 75")
    # the worker of Ray is gone before it can tell an exit code, and takes its process along
    once = f"test -e {tmp_path}/there && exit 0; touch {tmp_path}/there; kill -9 $PPID; sleep 60"
    always = f"echo $$ >> {tmp_path}/pids; kill -9 $PPID; sleep 60"
    units = [hung, unit("once", once), unit("always", always)]
    outcomes = by_name(tasks(retries=2).run(units))
    assert {name: outcome.code for name, outcome in outcomes.items()} == {
        "hung": 75,
        "once": 0,
        "always": -signal.SIGKILL,
    }
    assert (tmp_path / "hung").read_text() == "try\n" * 3
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert outcomes["always"].message == "lost with its worker (WorkerCrashedError of Ray)"


def test_a_branch_waits_for_its_file_and_closing_cancels_what_is_left_after_it_has_saved(
    cluster, unit, tmp_path
):
    kept, saved = tmp_path / "kept", tmp_path / "saved"
    trap = f"trap 'echo saved > {saved}; exit 75' TERM"
    trunk = unit("trunk", f"{trap}; sleep 0.3; touch {kept}; while true; do sleep 0.05; done")
    branch = dataclasses.replace(unit("branch", f"test -e {kept}"), after=(kept,))
    waiting = unit("queued", "exit 9")
    running = tasks().run([branch, trunk, dataclasses.replace(waiting, after=(saved,))])
    outcome = next(running)
    assert (outcome.unit.names, outcome.code) == (("branch",), 0)
    running.close()
    assert saved.read_text() == "saved\n"
    assert not waiting.log.exists()


def test_a_cluster_without_room_is_one_line(cluster):
    assert tasks(workers=None).workers == max(1, len(os.sched_getaffinity(0)))
    with pytest.raises(UserError, match="no node of the cluster has 999 cores and 0 GPUs for a ru"):
        tasks(workers=None, cpus=999)
    assert ray._room({"CPU": 8.0, "GPU": 2.0}, cpus=1, gpus=0.25) == 8
    assert ray._room({"CPU": 8.0, "GPU": 2.0}, cpus=1, gpus=1.0) == 2
    assert ray._room({"CPU": 8.0}, cpus=3, gpus=0.0) == 2


def test_no_ray_and_no_cluster_are_one_line(monkeypatch):
    with pytest.raises(UserError, match="give host:port, as"):
        ray._reach("head")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot reach a cluster at 127.0.0.1:{port} "):
            ray._reach(f"127.0.0.1:{port}")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(UserError, match=r'needs the package ray; .* "lm_lab\[ray\]"'):
        tasks()


@pytest.mark.skipif(sys.platform != "linux", reason="this platform does not pin")
def test_processes_hold_cores_of_their_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1000, 1001, 1002})
    with process.free_cores(1) as one, process.free_cores(2) as two:
        assert (one, two) == ("1000", "1001,1002")
        with process.free_cores(2) as none_left:
            assert none_left == "1000,1001"
    with process.free_cores(2) as again:
        assert again == "1000,1001"
