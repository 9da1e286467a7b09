"""Locks between processes of one machine, and of several: those of others are played by processes
whose flock nobody sees.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lm_lab.runs import locks
from lm_lab.runs.checkpoint import Checkpoints
from lm_lab.runs.locks import Lock, Lost, is_locked
from lm_lab.types import UserError
from tests.sweeps.fakes import wait_for

BEAT, EXPIRY = 0.1, 1.0


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", BEAT)
    monkeypatch.setattr(locks, "EXPIRY_SECONDS", EXPIRY)


@pytest.fixture
def elsewhere(monkeypatch, quick):
    """A function that moves this process to another machine, by name."""

    def move(name):
        monkeypatch.setattr(locks, "machine", lambda: name)
        monkeypatch.setattr(locks, "try_lock", lambda descriptor, shared=False: True)

    return move


def claims(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def test_a_second_lock_names_the_holder(tmp_path):
    message = rf"{tmp_path} is in use by pid {os.getpid()} on \S+; .*another directory"
    with Lock(tmp_path / "lock"), pytest.raises(UserError, match=message):
        Lock(tmp_path / "lock").__enter__()
    with Lock(tmp_path / "lock"):
        pass
    assert claims(tmp_path) == ["lock.2"]


def test_the_lock_of_an_earlier_release_is_taken_up(tmp_path):
    (tmp_path / "lock").write_text("pid 7 on elsewhere\n")
    with Lock(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_another_machine_sees_a_holder_and_follows_it_when_it_ends(tmp_path, elsewhere):
    with Lock(tmp_path / "lock"):
        elsewhere("b")
        assert is_locked(tmp_path / "lock")
        with pytest.raises(UserError, match=f"{tmp_path} is in use by pid {os.getpid()} on "):
            Lock(tmp_path / "lock").__enter__()
    assert not is_locked(tmp_path / "lock")
    began = time.monotonic()
    with Lock(tmp_path / "lock"):
        assert time.monotonic() - began < EXPIRY / 2


@pytest.mark.parametrize("off", [-86_400, 0, 86_400])
def test_who_is_dead_is_told_by_the_file_system_s_clock(tmp_path, elsewhere, monkeypatch, off):
    elsewhere("a")
    dead = Lock(tmp_path / "lock")
    dead.__enter__()
    dead._stop.set()  # as if its machine had vanished
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + off)
    elsewhere("b")
    began = time.monotonic()
    with Lock(tmp_path / "lock") as lock:
        assert EXPIRY / 2 < time.monotonic() - began < 5 * EXPIRY
        with pytest.raises(Lost, match=f"{tmp_path} was taken over by pid "):
            dead.confirm()
        dead.__exit__()
        lock.confirm()
    assert claims(tmp_path) == ["lock.2"]


def test_one_of_several_followers_wins(tmp_path, elsewhere, monkeypatch):
    """Two judge the same claim; the slower creates its own after the quicker one's is free."""
    elsewhere("a")
    with Lock(tmp_path / "lock"):
        pass
    slow, wait = Lock(tmp_path / "lock"), Lock._wait_for_end

    def overtaken(lock, claim):
        wait(lock, claim)
        if lock is slow and claim.name == "lock.1":
            for _ in range(2):  # the second one's claim has a number that the slow one never saw
                with Lock(tmp_path / "lock"):
                    pass
            Lock(tmp_path / "lock").__enter__()
            elsewhere("b")

    monkeypatch.setattr(Lock, "_wait_for_end", overtaken)
    with pytest.raises(UserError, match="in use by"):
        slow.__enter__()
    assert claims(tmp_path) == ["lock.4"]


def test_a_follower_is_not_disturbed_by_one_that_lost(tmp_path, elsewhere):
    """A holder that was paused finds its claim gone before it commits a checkpoint."""
    elsewhere("a")
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, 2, "one") as paused:
        paused.save(10, {"x": np.zeros(3)}, {}, None)
        paused.wait()
        paused._lock._stop.set()
        elsewhere("b")
        with Checkpoints(folder, 2, "one") as other:
            other.save(20, {"x": np.ones(3)}, {}, None)
            other.wait()
            paused.save(15, {"x": np.zeros(3)}, {}, None)
            with pytest.raises(Lost, match="was taken over by"):
                paused.wait()
    assert sorted(path.name for path in folder.glob("step_*")) == ["step_00000010", "step_00000020"]
    assert (folder / "LAST_GOOD").read_text() == "step_00000020\n"


@pytest.mark.processes
def test_a_lock_dies_with_its_holder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from lm_lab.runs.locks import Lock\n"
        "with Lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by pid {holder.pid} on "):
            Lock(tmp_path / "lock").__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        began = time.monotonic()
    with Lock(tmp_path / "lock"):
        assert time.monotonic() - began < 1


WRITER = """
import sys, time
from pathlib import Path
from lm_lab.runs import locks

locks.HEARTBEAT_SECONDS, locks.EXPIRY_SECONDS = 0.1, 1.0
locks.try_lock = lambda *_, **__: True
locks.machine = lambda: sys.argv[1]
with locks.Lock(Path("lock")) as lock:
    while True:
        lock.confirm()
        with open("lines", "a") as file:
            file.write(sys.argv[1])
        time.sleep(0.01)
"""


@pytest.mark.processes
def test_a_process_that_was_stopped_and_wakes_after_a_takeover_writes_nothing(tmp_path):
    def start(name):
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, name], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )

    lines = tmp_path / "lines"
    first = start("a")
    wait_for(lambda: lines.exists() and len(lines.read_text()) > 2)
    first.send_signal(signal.SIGSTOP)
    second = start("b")
    try:
        wait_for(lambda: "b" in lines.read_text())
        first.send_signal(signal.SIGCONT)
        assert "Lost" in first.communicate(timeout=20)[1]
        written = len(lines.read_text())
        wait_for(lambda: len(lines.read_text()) > written + 3)
    finally:
        second.kill()
        second.communicate()
    # One line may have been on its way when it was stopped.
    text = lines.read_text()
    assert text.lstrip("a").lstrip("b").count("a") <= 1


def test_a_disk_that_is_full_at_the_end_keeps_nobody_of_this_machine_waiting(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "lock"
    try:
        with Lock(path):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        with pytest.raises(UserError, match="lock: cannot lock: File too large"), Lock(path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [claim.name for claim in sorted(tmp_path.iterdir())] == ["lock", "lock.1"]
    began = time.monotonic()
    with Lock(path):
        assert time.monotonic() - began < 1.0
