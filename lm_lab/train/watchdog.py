"""A watchdog for hangs: a device, a disk or a network that never answers would block a run for
ever, silently.
"""

import contextlib
import faulthandler
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from lm_lab.train.preemption import GOES_ON, RESUME, Signals, exit_code, leave, say

TICK_SECONDS = 1.0
USUAL, HURRIED = (
    10,
    3,
)  # times the median of earlier waits: a longer one is a stall; the same after a signal

NOTHING_TO_SAVE = 10.0  # seconds of a wait after a signal, before the first step

Wait = Literal["step", "loader", "evaluation", "tasks", "save"]


class Patience(NamedTuple):
    """The least limits of a wait in seconds, beyond which it is a stall, and what follows."""

    usual: float  # where the length of earlier waits of the kind is known
    first: float  # for the first wait of a kind
    hurried: float  # after a signal to save and end
    stacks: int = 5  # times the limit: when all stacks are shown
    end: int = 10  # times the limit: when the process ends


# A save is watched from its start, though training goes on beside it. All stacks are shown with
# the first word, as a save that hangs is not seen otherwise until the loop waits for it.
# Ended by a signal, a run that only waits its turn on a busy machine would lose what it has not
# saved, so `hurried` takes most of the 30 s that schedulers commonly leave before they kill.
PATIENCE: dict[Wait, Patience] = {
    "step": Patience(60.0, 600.0, 25.0),
    "loader": Patience(60.0, 600.0, 25.0),
    "evaluation": Patience(600.0, 3600.0, 25.0),
    "tasks": Patience(600.0, 3600.0, 25.0),  # an evaluation with tasks
    "save": Patience(200.0, 600.0, 600.0, stacks=1, end=3),
}


class _Clock:
    """How long one wait has lasted, and how much of it has been told."""

    def __init__(self) -> None:
        self.key: object = None  # of the wait; None: nothing is waited for
        self.stage = 0
        self.waited = self.hurried = 0.0

    def lasts(self, key: object, passed: float, hurried: bool) -> bool:
        """Whether the wait `key` lasts since the tick before; another one starts anew."""
        if key is None or key != self.key:
            if self.stage:
                say(f"goes on, after {self.waited:.0f} s")
            self.key, self.stage = key, 0
            self.waited = self.hurried = 0.0
            return False
        self.waited += passed
        self.hurried += passed if hurried else 0.0
        return True


class Watchdog:
    """Inside `with`, a thread that watches the waits of the loop, and the saves beside it.

    A stall is reported in one line; later every thread's stack is shown; at last the process ends
    with the exit code RESUME. After a signal it ends as soon as a wait takes too long, with the
    exit code of the signal. Compiling is not watched, as its time is unknown. Time is counted in
    ticks of the thread, so that time asleep or suspended does not count.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._waiting: Wait | None = None
        self._number = 0  # of the wait
        self._saving: Callable[[], int | None] = lambda: None
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
        if what != "save":  # the loop waits for a part of a save's time; `_watch` takes all of it
            self._seconds[what].append(time.monotonic() - begin)

    def begin(self, what: Wait) -> None:
        """Starts a wait for `what`, until the process ends."""
        self._number += 1
        self._waiting = what

    def follow(self, saving: Callable[[], int | None]) -> None:
        """Watches saves in the background, too: `saving` gives the step of the one under way."""
        self._saving = saving

    def _watch(self) -> None:
        waits, saves = _Clock(), _Clock()
        last = time.monotonic()
        while not self._closed.wait(TICK_SECONDS):
            passed, last = min(time.monotonic() - last, 2 * TICK_SECONDS), time.monotonic()
            what, saving = self._waiting, self._saving()
            if saves.key not in (None, saving):
                self._seconds["save"].append(saves.waited)
            self._tick(saves, saving, "save", passed)
            # Where the loop waits for a save that is under way, that save's time counts.
            waiting = what is not None and (what != "save" or saving is None)
            self._tick(waits, self._number if waiting else None, what or "save", passed)

    def _tick(self, clock: _Clock, key: object, what: Wait, passed: float) -> None:
        if not clock.lasts(key, passed, self._signals.received is not None):
            return
        if clock.hurried >= self._limit(what, True):
            self._end_by_signal(what)
        limit, patience = self._limit(what, False), PATIENCE[what]
        due = sum(clock.waited >= times * limit for times in (1, patience.stacks, patience.end))
        if due > clock.stage:
            clock.stage = due
            self._tell(what, due, clock.waited, limit)

    def _limit(self, what: Wait, hurried: bool) -> float:
        """Seconds until a wait is a stall."""
        known, patience = self._seconds[what], PATIENCE[what]
        if hurried and what != "save" and not self._seconds["step"]:
            return NOTHING_TO_SAVE
        if not known:
            return patience.first
        if hurried:
            return max(patience.hurried, HURRIED * statistics.median(known))
        return max(patience.usual, USUAL * statistics.median(known))

    def _tell(self, what: Wait, stage: int, waited: float, limit: float) -> None:
        known, patience = self._seconds[what], PATIENCE[what]
        usual = f", usually {statistics.median(known):.2g} s" if known else ""
        words = f"stalled: waiting for the {what} for {waited:.0f} s{usual}"
        ahead = [f"after {patience.stacks * limit:.0f} s all stacks are shown"] * (stage == 1)
        ahead += [f"after {patience.end * limit:.0f} s the run ends"] * (stage < 3)
        say(f"{words}; {', '.join(ahead)}" if ahead else words)
        if stage > 1:
            faulthandler.dump_traceback(2)
        if stage == 3:
            leave(RESUME, f"stalled: ended; {GOES_ON}")

    def _end_by_signal(self, what: Wait) -> None:
        received = self._signals.received
        assert received is not None
        faulthandler.dump_traceback(2)
        words = f"{received.name} while the {what} hangs: ended, not saved; {GOES_ON}"
        leave(exit_code(received), words)
