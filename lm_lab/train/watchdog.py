"""A watchdog for hangs: a device, a disk or a network that never answers would block a run for
ever, silently.
"""

import contextlib
import faulthandler
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from lm_lab.train.preemption import GOES_ON, RESUME, Signals, exit_code, leave, say

TICK_SECONDS = 1.0
USUAL, HURRIED = (
    10,
    3,
)  # times the median of earlier waits: a longer one is a stall; the same after a signal
STACKS, END = 5, 10  # times that limit: when all stacks are shown; when the process ends

Wait = Literal["step", "loader", "evaluation", "tasks", "save"]


class Patience(NamedTuple):
    """The least limits of a wait in seconds, beyond which it is a stall."""

    usual: float  # where the length of earlier waits of the kind is known
    first: float  # for the first wait of a kind
    hurried: float  # after a signal to save and end


# A save runs beside training, so the time that the loop waits for one says nothing about the next.
PATIENCE: dict[Wait, Patience] = {
    "step": Patience(60.0, 600.0, 10.0),
    "loader": Patience(60.0, 600.0, 10.0),
    "evaluation": Patience(600.0, 3600.0, 10.0),
    "tasks": Patience(600.0, 3600.0, 10.0),  # an evaluation with tasks
    "save": Patience(600.0, 600.0, 600.0),
}


class Watchdog:
    """Inside `with`, a thread that watches the waits of the loop.

    A stall is reported in one line; later every thread's stack is shown; at last the process ends
    with the exit code RESUME. After a signal it ends as soon as a wait takes too long, with the
    exit code of the signal. Compiling is not watched, as its time is unknown. Time is counted in
    ticks of the thread, so that time asleep or suspended does not count.
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
        """Starts a wait for `what`, until the process ends."""
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
            return patience.hurried  # before the first step there is nothing to lose
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
            leave(RESUME, f"stalled: ended; {GOES_ON}")

    def _end_by_signal(self, what: Wait) -> None:
        received = self._signals.received
        assert received is not None
        faulthandler.dump_traceback(2)
        words = f"{received.name} while the {what} hangs: ended, not saved; {GOES_ON}"
        leave(exit_code(received), words)
