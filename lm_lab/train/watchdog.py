"""A watchdog for hangs: a device, a disk or a network that never answers would hold a run for ever,
without a word.
"""

import contextlib
import faulthandler
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from lm_lab.train.preemption import GOES_ON, Signals, leave, say

STALLED = 75  # the exit code; EX_TEMPFAIL of sysexits.h: try again
TICK_SECONDS = 1.0
USUAL, HURRIED = (
    10,
    3,
)  # times the median of earlier waits: until a wait is a stall; the same after a signal
STACKS, END = 5, 10  # times that: until all stacks are shown; until the process ends

Wait = Literal["step", "loader", "evaluation", "tasks", "save"]


class Patience(NamedTuple):
    """What a wait may take at least, in seconds, before it is a stall."""

    usual: float  # where earlier waits of the kind say what it takes
    first: float  # where none does
    hurried: float  # after a signal, by which the process is to save itself and end


# A save runs while the training goes on: what the loop waits for it says nothing of how long the
# next one takes.
PATIENCE: dict[Wait, Patience] = {
    "step": Patience(60.0, 600.0, 10.0),
    "loader": Patience(60.0, 600.0, 10.0),
    "evaluation": Patience(600.0, 3600.0, 10.0),
    "tasks": Patience(600.0, 3600.0, 10.0),  # an evaluation that puts tasks to the model, too
    "save": Patience(600.0, 600.0, 600.0),
}


class Watchdog:
    """Inside `with`, a thread that looks after the waits of the loop.

    A stall is told in one line; later every thread's stack is shown; at last the process ends with
    the exit code STALLED. After a signal it ends as soon as a wait takes too long, with 128 + the
    signal. Compiling is no wait: nobody knows how long it takes. Time counts by ticks of the
    thread, so that a laptop may sleep, or a process be suspended.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._waiting: Wait | None = None
        self._number = 0  # of the wait
        self._seconds: dict[Wait, deque[float]] = defaultdict(lambda: deque(maxlen=99))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    @contextlib.contextmanager
    def waits(self, what: Wait) -> Iterator[None]:
        """The block waits for `what`."""
        begin = time.monotonic()
        self.begin(what)
        try:
            yield
        finally:
            self._waiting = None
        self._seconds[what].append(time.monotonic() - begin)

    def begin(self, what: Wait) -> None:
        """From here on `what` is waited for."""
        self._number += 1
        self._waiting = what

    def _watch(self) -> None:
        number = stage = 0
        waited = hurried = 0.0
        last = time.monotonic()
        while not self._closed.wait(TICK_SECONDS):
            passed, last = min(time.monotonic() - last, 2 * TICK_SECONDS), time.monotonic()
            what = self._waiting
            if what is None or self._number != number:
                if stage:
                    say(f"goes on, after {waited:.0f} s")
                number, stage, waited, hurried = self._number, 0, 0.0, 0.0
                continue
            waited += passed
            hurried += passed if self._signals.received else 0.0
            if hurried >= self._limit(what, True):
                self._end_by_signal(what)
            limit = self._limit(what, False)
            due = sum(waited >= times * limit for times in (1, STACKS, END))
            if due > stage:
                stage = due
                self._tell(what, stage, waited, limit)

    def _limit(self, what: Wait, hurried: bool) -> float:
        """Seconds until a wait is a stall."""
        known, patience = self._seconds[what], PATIENCE[what]
        if hurried and not self._seconds["step"]:
            return patience.hurried  # before the first step nothing is lost
        if not known:
            return patience.first
        if hurried:
            return max(patience.hurried, HURRIED * statistics.median(known))
        return max(patience.usual, USUAL * statistics.median(known))

    def _tell(self, what: Wait, stage: int, waited: float, limit: float) -> None:
        usual = (
            f", usually {statistics.median(known):.2g} s" if (known := self._seconds[what]) else ""
        )
        words = f"stalled: waiting for the {what} for {waited:.0f} s{usual}"
        if stage == 1:
            say(
                f"{words}; after {STACKS * limit:.0f} s all stacks are shown, after "
                f"{END * limit:.0f} s the run ends"
            )
            return
        say(words)
        faulthandler.dump_traceback(2)
        if stage == 3:
            leave(STALLED, f"stalled: ended; {GOES_ON}")

    def _end_by_signal(self, what: Wait) -> None:
        received = self._signals.received
        assert received is not None
        faulthandler.dump_traceback(2)
        leave(
            128 + received, f"{received.name} while the {what} hangs: ended, not saved; {GOES_ON}"
        )
