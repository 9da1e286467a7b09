"""The watchdog: silent while waits are usual; then a line, then stacks, then an end that names what
hung.
"""

import signal
import time
from types import SimpleNamespace

import pytest

from lm_lab.train import watchdog
from lm_lab.train.preemption import RESUME
from lm_lab.train.watchdog import PATIENCE, Patience, Watchdog
from tests.sweeps.fakes import wait_for


@pytest.fixture
def events(monkeypatch):
    """The actions of the watchdog in order, with its seconds made milliseconds."""
    seen = []
    monkeypatch.setattr(watchdog, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(
        watchdog,
        "PATIENCE",
        {k: Patience(*(x / 1000 for x in v[:3]), *v[3:]) for k, v in PATIENCE.items()},
    )
    monkeypatch.setattr(watchdog, "NOTHING_TO_SAVE", watchdog.NOTHING_TO_SAVE / 1000)
    monkeypatch.setattr(watchdog, "say", seen.append)
    monkeypatch.setattr(watchdog.faulthandler, "dump_traceback", lambda _: seen.append("stacks"))
    monkeypatch.setattr(watchdog, "leave", lambda code, words: seen.append((code, words)))
    return seen


def hangs(dog, what, until):
    with dog.waits(what):
        wait_for(until)


@pytest.mark.parametrize("what", PATIENCE)
def test_a_wait_without_end_is_named_shown_and_ended(events, what, monkeypatch):
    shortest = watchdog.PATIENCE["step"]
    monkeypatch.setitem(watchdog.PATIENCE, what, shortest._replace(first=shortest.usual))
    with Watchdog(SimpleNamespace(received=None)) as dog:
        with dog.waits(what):
            pass  # what it usually takes
        hangs(dog, what, lambda: any(event[0] == RESUME for event in events))
    # the process that `leave` should have ended goes on here
    end = next(place for place, event in enumerate(events, 1) if event[0] == RESUME)
    first, again, shown, last, dumped, (_, words) = events[:end]
    assert first.startswith(f"stalled: waiting for the {what} for ")
    assert "after 0 s all stacks are shown" in first
    assert f"waiting for the {what}" in again
    assert f"waiting for the {what}" in last
    assert shown == dumped == "stacks"
    assert words == "stalled: ended; the same command goes on from what is stored"


def test_what_takes_its_usual_time_is_no_stall_and_recovery_is_told(events):
    with Watchdog(SimpleNamespace(received=None)) as dog:
        for _ in range(3):
            with dog.waits("step"):
                time.sleep(0.05)  # so that 0.06 s, of an instant step a stall, is none
        with dog.waits("step"):
            time.sleep(0.2)
        assert events == []
        hangs(dog, "step", lambda: events)
        wait_for(lambda: str(events[-1]).startswith("goes on, after "))


def test_a_save_that_hangs_beside_training_is_named_with_stacks_and_ended(events, monkeypatch):
    monkeypatch.setitem(watchdog.PATIENCE, "save", PATIENCE["save"]._replace(first=0.06))
    saving: list[int | None] = [10]
    with Watchdog(SimpleNamespace(received=None)) as dog:
        dog.follow(lambda: saving[0])
        while len(events) < 2:
            with dog.waits("step"):
                time.sleep(0.01)
        hangs(dog, "save", lambda: any(event[0] == RESUME for event in events))
        saving[0] = None
        wait_for(lambda: str(events[-1]).startswith("goes on, after "))
    first, shown, again, dumped, end, _ = events
    assert first.startswith("stalled: waiting for the save for 0 s; after 0 s the run ends")
    assert again.startswith("stalled: waiting for the save for ")
    assert shown == dumped == "stacks"
    assert end == (RESUME, "stalled: ended; the same command goes on from what is stored")


def test_no_limit_is_known_at_first_and_compiling_has_none(events):
    with Watchdog(SimpleNamespace(received=None)) as dog:
        time.sleep(0.1)  # no wait
        with dog.waits("step"):
            time.sleep(0.1)
        assert events == []


def test_told_to_stop_while_it_hangs_it_ends(events):
    with Watchdog(SimpleNamespace(received=signal.SIGTERM)) as dog:
        hangs(dog, "loader", lambda: len(events) > 1)
    assert events[:2] == ["stacks", (RESUME, events[1][1])]
    assert "SIGTERM while the loader hangs: ended, not saved" in events[1][1]
