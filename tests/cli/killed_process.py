"""python -m tests.cli.killed_process SIGNAL POINT CALL WORDS...: runs lm-lab WORDS..., and kills it
at a chosen moment.

The signal comes just before the CALLth call of POINT, a dotted path such as
lm_lab.runs.commits.write_manifest. Instead of a signal it may HANG there for ever, inside C, where
no Python runs; the watchdog then calls it a stall after 1 s instead of minutes. Another process of
the launch counts as lost after 8 s instead of 20. Or the disk is FULL from there on: no file may
grow.
"""

import ctypes
import itertools
import os
import resource
import signal
import sys
from pkgutil import resolve_name

from lm_lab.cli.main import main
from lm_lab.train import liveness, watchdog


def interrupt(blow: str, point: str, call: int) -> None:
    holder, name = point.rsplit(".", 1)
    owner = resolve_name(holder)
    function, calls = getattr(owner, name), itertools.count(1)

    def killed_at(*args, **kwargs):
        if next(calls) == call:
            BLOWS.get(blow, lambda: os.kill(os.getpid(), signal.Signals[blow]))()
        return function(*args, **kwargs)

    setattr(owner, name, killed_at)


def hang() -> None:
    print("hanging", flush=True)
    while True:
        ctypes.CDLL(None).sleep(1000)


def fill() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


BLOWS = {"HANG": hang, "FULL": fill}

if __name__ == "__main__":
    _, name, point, call, *words = sys.argv
    if name == "HANG":
        watchdog.TICK_SECONDS = 0.1
        for what, patience in watchdog.PATIENCE.items():
            hasty = patience._replace(usual=1.0, first=10.0, hurried=1.0, end=3)
            watchdog.PATIENCE[what] = hasty._replace(stacks=min(patience.stacks, 2))
    liveness.BEAT_SECONDS, liveness.LOST_SECONDS = 0.2, 8.0
    interrupt(name, point, int(call))
    sys.argv = ["lm-lab", *words]
    main()
