"""Being told to stop: SIGTERM (a scheduler's), SIGINT (Ctrl-C) and SIGHUP (a closed terminal).

The standard library only: commands listen before anything else is imported.
"""

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ONE_SECONDS = 1.0  # `timeout` and closing shells send a signal twice at once: within this time it is one
ANSWER_SECONDS = 2.0  # until a main thread that runs no Python is given up
UNWIND_SECONDS = 60.0  # until one that was interrupted is; a sweep gives its workers 20 of them
GOES_ON = "the same command goes on from what is stored"


class Stopped(KeyboardInterrupt):
    """A signal came while there was nothing to save."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(f"{received.name}: stopped; {GOES_ON}")
        self.signal = received


class Preempted(Exception):
    """A run was told to stop by a signal, and has saved itself after a step."""

    def __init__(self, received: signal.Signals, step: int) -> None:
        super().__init__(f"{received.name} at step {step}: saved; the same command goes on from there")
        self.signal = received


class Signals:
    """Inside `with`, a signal raises Stopped. After `defer` the first one is only noted, as `received`, so that the run
    can save itself, and a second one ends the process at once.

    A main thread that waits inside a library (a compilation, a device that hangs) runs no handler. So the system also
    writes each signal to a pipe, and a thread that reads it ends the process where the main thread does not answer.
    Python delivers signals to the main thread alone: elsewhere nothing is caught. An ignored SIGHUP (nohup) stays so.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._deferred = False
        self._raised = -ONE_SECONDS
        self._answered, self._closed = threading.Event(), threading.Event()
        self._before = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        self._pipe_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        caught = [each for each in NUMBERS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in caught}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._pipe_before)
            self._closed.set()
            os.close(self._writer)  # which ends the thread

    def defer(self) -> None:
        """From here on there is something to save."""
        self._deferred = True

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._deferred:
            self.received = self.received or signal.Signals(number)
        elif time.monotonic() - self._raised > ONE_SECONDS:
            self._raised = time.monotonic()
            self._answered.set()
            raise Stopped(signal.Signals(number))

    def _listen(self) -> None:
        noted, last = False, -ONE_SECONDS
        with os.fdopen(self._reader, "rb", buffering=0) as pipe:
            while byte := pipe.read(1):
                number, now = byte[0], time.monotonic()
                if number not in NUMBERS or now - last <= ONE_SECONDS:
                    continue
                received, last = signal.Signals(number), now
                if noted:
                    leave(128 + number, f"{received.name}, the second signal: ended at once; {GOES_ON}")
                elif self._deferred:
                    noted, self.received = True, self.received or received
                elif not (self._answered.wait(ANSWER_SECONDS) and self._closed.wait(UNWIND_SECONDS)):
                    leave(128 + number, str(Stopped(received)))


def leave(code: int, words: str) -> NoReturn:
    """Ends the process with a last line, whatever its other threads do or hold. What is committed survives it."""
    say(words)
    os._exit(code)


def say(words: str) -> None:
    """A line on stderr, by no lock that another thread may hold; left out where nobody reads a full pipe."""
    start = "\n" if os.isatty(2) else ""  # below a bar
    if select.select([], [2], [], 0)[1]:
        os.write(2, f"{start}lm-lab: {words}\n".encode())
