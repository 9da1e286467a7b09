"""A process that is not heard of ends the others; one that is only slow does not."""

import itertools
import time

import pytest

from lm_lab.runs import peers
from lm_lab.train import liveness
from lm_lab.train.preemption import RESUME


@pytest.mark.parametrize("lives", [False, True])
def test_a_silent_process_ends_the_others(monkeypatch, lives):
    beats, ends = itertools.count(), []

    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(liveness, "LOST_SECONDS", 0.01)
    monkeypatch.setattr(liveness, "leave", lambda code, words: ends.append(code))
    monkeypatch.setattr(liveness.faulthandler, "dump_traceback", lambda file: None)
    monkeypatch.setattr(liveness, "say", ends.append)
    monkeypatch.setattr(peers, "count", lambda: 2)
    monkeypatch.setattr(peers, "index", lambda: 0)
    monkeypatch.setattr(peers, "post", lambda key, value: None)
    monkeypatch.setattr(peers, "posted", lambda folder: {"1": (lives and next(beats), "host7")})
    with liveness.Liveness():
        deadline = time.monotonic() + (0.2 if lives else 30)
        while len(ends) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    if lives:
        assert not ends
    else:
        assert ends[0].startswith("process 1 on host7: not heard of for")
        assert ends[1] == RESUME
