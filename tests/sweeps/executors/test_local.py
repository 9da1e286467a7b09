"""Local processes: bounded, pinned, explained, and gone when their launcher is."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_lab.contracts import Unit
from lm_lab.runs.records import usable_cores
from lm_lab.sweeps import executors
from lm_lab.sweeps.executors.local import LocalProcesses, core_slots, explain, last_words
from tests.sweeps.fakes import alive, wait_for

pytestmark = pytest.mark.processes
SLEEP = "sleep 60"


@pytest.fixture
def unit(tmp_path):
    def make(name, script):
        return Unit((name,), ("sh", "-c", script), tmp_path / name / "log.txt")

    return make


def pid_in(path):
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


def test_outcomes_say_how_and_why(unit):
    scripts = {
        "good": "echo fine",
        "bad": "echo half; echo; echo 'no luck' >&2; exit 3",
        "mute": "exit 4",
        "killed": "kill -9 $$",
    }
    units = [unit(name, script) for name, script in scripts.items()]
    units.append(Unit(("absent",), ("/no/such/program",), units[0].log.with_name("absent.txt")))
    outcomes = {outcome.unit.names[0]: outcome for outcome in LocalProcesses(2).run(units)}
    assert {name: outcome.code for name, outcome in outcomes.items()} == {
        "good": 0,
        "bad": 3,
        "mute": 4,
        "killed": -9,
        "absent": 1,
    }
    assert outcomes["bad"].message == "no luck"
    assert outcomes["mute"].message == "ended with exit code 4 and no result"
    assert outcomes["killed"].message == "killed by SIGKILL (out of memory?)"
    assert outcomes["absent"].message == "cannot start /no/such/program: No such file or directory"
    assert units[1].log.read_text() == "half\n\nno luck\n"


def test_a_unit_begins_when_its_own_file_is_there_while_others_go_on(unit, tmp_path):
    kept, seen = tmp_path / "kept", tmp_path / "seen"
    wait = f"for i in $(seq 600); do test -e {seen} && exit 0; sleep 0.1; done; exit 9"
    trunk = unit("trunk", f"sleep 0.2; touch {kept}; {wait}")  # ends when its branch has begun
    branch = dataclasses.replace(unit("branch", f"test -e {kept} && touch {seen}"), after=(kept,))
    lost = dataclasses.replace(unit("lost", "exit 5"), after=(tmp_path / "never",))
    outcomes = list(LocalProcesses(3).run([lost, trunk, branch]))
    assert {outcome.unit.names[0]: outcome.code for outcome in outcomes} == {
        "trunk": 0,
        "branch": 0,
        "lost": 5,
    }
    assert outcomes[-1].unit.names == ("lost",)  # after all others, to say what it misses


def test_a_log_grows_and_only_the_last_attempt_explains(unit):
    list(LocalProcesses(1).run([unit("a", "echo first; exit 1")]))
    (outcome,) = LocalProcesses(1).run([unit("a", "exit 1")])
    assert outcome.message == "ended with exit code 1 and no result"
    assert outcome.unit.log.read_text() == "first\n"


def test_success_without_a_result_is_explained():
    assert explain(0, "bye") == "ended with exit code 0 and no result; it last said: bye"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ""),
        ("a\nb\n\n", "b"),
        (
            "ValueError: x\nlm-lab: no space\nsys:1: RuntimeWarning: never awaited\n",
            "lm-lab: no space",
        ),
        ("Traceback:\n  raise\na.b.SomeError: no memory\nstep 3\n", "a.b.SomeError: no memory"),
        ("a bar 10%\ra bar 20%", "a bar 20%"),
    ],
)
def test_the_last_words_are_the_error(text, words):
    assert last_words(text) == words


def test_units_start_in_order_and_never_more_than_workers(unit, tmp_path):
    script = f"echo start >> {tmp_path}/all; sleep 0.05; echo end >> {tmp_path}/all"
    units = [unit(f"u{index}", script) for index in range(6)]
    names = [outcome.unit.names[0] for outcome in LocalProcesses(2).run(units)]
    running = most = 0
    for line in (tmp_path / "all").read_text().splitlines():
        running += 1 if line == "start" else -1
        most = max(most, running)
    assert most == 2
    assert sorted(names) == [f"u{index}" for index in range(6)]
    assert [outcome.unit.names[0] for outcome in LocalProcesses(1).run(units)] == [
        f"u{index}" for index in range(6)
    ]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform does not pin")
def test_workers_are_pinned_from_their_start(unit):
    cores = sorted(os.sched_getaffinity(0))
    units = [
        unit(f"u{index}", "grep Cpus_allowed_list /proc/self/status; sleep 0.2")
        for index in range(2)
    ]
    told = [
        outcome.unit.log.read_text().split()[-1]
        for outcome in LocalProcesses(len(cores) or 1).run(units)
    ]
    if len(cores) > 1:
        assert len(set(told)) == 2
        assert all(list_.isdigit() for list_ in told)
    (alone,) = LocalProcesses(1).run([unit("alone", "grep Cpus_allowed_list /proc/self/status")])
    assert alone.unit.log.read_text().split()[-1] not in told or len(cores) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform does not pin")
def test_slots_are_equal_and_disjoint(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 8, 9, 10, 11})
    assert core_slots(1) == [""]
    assert core_slots(2) == ["0,1,2,3", "8,9,10,11"]
    assert core_slots(3) == ["0,1", "2,3", "8,9"]
    assert core_slots(10) == ["0", "1", "2", "3", "8", "9", "10", "11", "0", "1"]


def test_closing_ends_what_runs(unit, tmp_path):
    waits = unit("waits", f"echo $$ > {tmp_path}/pid; exec {SLEEP}")
    outcomes = LocalProcesses(2).run([waits, unit("quick", "true")])
    assert next(outcomes).unit.names == ("quick",)
    pid = pid_in(tmp_path / "pid")
    outcomes.close()
    assert not alive(pid)


def test_a_deaf_worker_is_killed_with_its_children(unit, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_lab.sweeps.executors.local.GRACE_SECONDS", 0.2)
    deaf = unit(
        "deaf",
        f"trap '' TERM; (trap '' TERM; {SLEEP}; true) & echo $! > {tmp_path}/pid; {SLEEP}; true",
    )
    outcomes = LocalProcesses(2).run(
        [deaf, unit("quick", f"until [ -s {tmp_path}/pid ]; do sleep 0.01; done")]
    )
    next(outcomes)
    pid = pid_in(tmp_path / "pid")
    outcomes.close()
    wait_for(lambda: not alive(pid))


LAUNCHER = """
import sys
from pathlib import Path
from lm_lab.contracts import Unit
from lm_lab.runs.records import usable_cores
from lm_lab.sweeps.executors.local import LocalProcesses
from lm_lab.train.preemption import Signals, Stopped
folder = Path(sys.argv[1])
def unit(name):
    command = ("sh", "-c", f"echo $$ > {folder}/{name}; exec sleep 60")
    return Unit((name,), command, folder / f"{name}.txt")
units = [unit("a"), unit("b")]
try:
    with Signals("raise"):
        list(LocalProcesses(2).run(units))
except Stopped as stop:
    sys.exit(128 + stop.signal)
"""


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="elsewhere the lock of the run keeps an orphan's run from others",
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_orphans_however_the_launcher_ends(tmp_path, number):
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path)], stderr=subprocess.DEVNULL
    ) as launcher:
        pids = [pid_in(tmp_path / name) for name in ("a", "b")]
        assert all(alive(pid) for pid in pids)
        began = time.monotonic()
        launcher.send_signal(number)
        wait_for(lambda: not any(alive(pid) for pid in pids))
        assert launcher.wait() == (-9 if number == signal.SIGKILL else 128 + number)
        assert time.monotonic() - began < 5


def test_an_accelerator_gets_one_worker_and_a_cpu_one_a_core_for_runs_alike():
    def workers(platform: str, alike: int, **settings: int) -> int:
        make = executors.choose("local", settings)
        return make(platform, lambda workers: [[1.0] * alike]).workers

    assert workers("gpu", 64) == 1
    assert workers("cpu", 64 * len(usable_cores())) == len(usable_cores())
    assert workers("cpu", 1) == 1
    assert workers("gpu", 64, workers=3) == workers("cpu", 1, workers=3) == 3
    assert 1 <= len(usable_cores()) <= (os.cpu_count() or 1)


def test_workers_share_what_they_compile_for_as_long_as_the_launch(unit, monkeypatch):
    say = 'echo "$JAX_COMPILATION_CACHE_DIR"; test -d "$JAX_COMPILATION_CACHE_DIR"'
    units = [unit("one", say), unit("two", say)]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert all(outcome.code == 0 for outcome in LocalProcesses(2).run(units))
    (shared,) = {each.log.read_text().strip() for each in units}
    assert not Path(shared).exists()

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(units[0].log.parent))
    own = unit("own", say)
    assert [outcome.code for outcome in LocalProcesses(1).run([own])] == [0]
    assert own.log.read_text().strip() == str(units[0].log.parent)
