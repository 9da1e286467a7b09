"""Signals to stop: SIGTERM and SIGUSR1 (from a scheduler), SIGINT (Ctrl-C) and SIGHUP (a closed
terminal); and the exit codes that tell a scheduler whether to run the command again.

Imports the standard library alone, as commands listen before anything else is imported.
"""

import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Literal, NoReturn

PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1)
NUMBERS = (*PREEMPTIONS, signal.SIGINT, signal.SIGHUP)
RESUME = 75  # the exit code for "run me again"; EX_TEMPFAIL of sysexits.h
# Two signals within this time count once: `timeout` and closing shells send one twice.
ONE_SECONDS = 1.0
PRESS_SECONDS = 0.1  # the same for Ctrl-C, which a person may press twice in a second
ANSWER_SECONDS = 2.0  # time that a main thread has to handle a signal; after it the process ends
UNWIND_SECONDS = (
    60.0  # time that an interrupted main thread has to clean up; a sweep gives its workers 30 s
)
GOES_ON = "the same command goes on from what is stored"


def exit_code(received: signal.Signals) -> int:
    """RESUME after a signal of a scheduler, which wants the place for a while; 128 + its number
    after one of a person, who may not want the run to go on.
    """
    return RESUME if received in PREEMPTIONS else 128 + received


class Stopped(KeyboardInterrupt):
    """Raised at a signal to stop, so that the caller can clean up."""

    def __init__(self, received: signal.Signals, stores: bool = True) -> None:
        super().__init__(f"{received.name}: stopped" + (f"; {GOES_ON}" if stores else ""))
        self.signal = received


class Preempted(Exception):
    """Raised when a run has saved itself after a signal to stop."""

    def __init__(self, received: signal.Signals, step: int) -> None:
        super().__init__(
            f"{received.name} at step {step}: saved; the same command goes on from there"
        )
        self.signal = received


class Signals:
    """What SIGTERM, SIGUSR1, SIGINT and SIGHUP do inside `with`.

    "leave"   end the process, with a line: where nothing has to be tidied up
    "raise"   Stopped in the main thread, so that the caller can tidy up; a second one ends the
              process if the caller does not at once
    "note"    from `listen` on the first one is `received`, for the caller to save and end; a second
              one ends the process at once, or, in a process that is to be kept, is a
              KeyboardInterrupt in the main thread

    A main thread inside a library (an import, a compilation, a device that hangs) runs no handler,
    or loses what the handler raises. So the system also writes each signal to a pipe, and a thread
    that reads it ends the process where the main thread does not. Python delivers signals to the
    main thread alone: elsewhere nothing is caught. An ignored SIGHUP (nohup) stays ignored.
    `stores`: whether something is stored from which the same command goes on.
    """

    def __init__(
        self,
        then: Literal["leave", "raise", "note"],
        *,
        keeps_process: bool = False,
        stores: bool = True,
    ) -> None:
        self.received: signal.Signals | None = None
        self._then, self._keeps_process, self._stores = then, keeps_process, stores
        self._before_it: tuple[int, float] | None = None  # the last signal handled, and when
        self._answered, self._closed = threading.Event(), threading.Event()
        self._before = {}

    def __enter__(self) -> "Signals":
        if self._then != "note":
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._pipe_before)
            self._closed.set()
            os.close(self._writer)  # which ends the thread

    def listen(self) -> None:
        """Begins to listen, at the first call."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        threading.Thread(target=self._read, name="signals", daemon=True).start()
        self._pipe_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        caught = [
            each
            for each in NUMBERS
            if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN
        ]
        self._before = {number: signal.signal(number, self._handle) for number in caught}

    def _handle(self, number: int, _: FrameType | None) -> None:
        """Runs in the main thread, when Python next executes there."""
        before, now = self._before_it, time.monotonic()
        if not _is_another(number, now, before):
            return
        self._before_it = number, now
        if self._then == "note":
            if self._keeps_process and before:
                raise KeyboardInterrupt(f"stopped before the run was saved; {GOES_ON}")
            self.received = self.received or signal.Signals(number)
        elif self._then == "raise":
            self._answered.set()
            raise Stopped(signal.Signals(number))

    def _read(self) -> None:
        before: tuple[int, float] | None = None
        with os.fdopen(self._reader, "rb", buffering=0) as pipe:
            while byte := pipe.read(1):
                number, now = byte[0], time.monotonic()
                if number not in NUMBERS or not _is_another(number, now, before):
                    continue
                received, is_second, before = signal.Signals(number), bool(before), (number, now)
                if self._then == "leave":
                    leave(exit_code(received), str(Stopped(received, self._stores)))
                elif self._then == "raise":
                    words = (received, is_second)
                    threading.Thread(target=self._await_end, args=words, daemon=True).start()
                elif not is_second:
                    self.received = self.received or received
                elif not self._keeps_process:
                    leave(exit_code(received), _at_once(received))

    def _await_end(self, received: signal.Signals, is_second: bool) -> None:
        """Ends the process where the main thread does not take the exception, or does not leave the
        block in time.
        """
        patience = ANSWER_SECONDS if is_second else UNWIND_SECONDS
        if self._answered.wait(ANSWER_SECONDS) and self._closed.wait(patience):
            return
        leave(exit_code(received), _at_once(received) if is_second else str(Stopped(received)))


def _at_once(received: signal.Signals) -> str:
    return f"{received.name}, the second signal: ended at once; {GOES_ON}"


def _is_another(number: int, now: float, before: tuple[int, float] | None) -> bool:
    """Whether a signal is one of its own, and no echo of the one before, a (number, time)."""
    if before is None:
        return True
    pressed = number == before[0] == signal.SIGINT
    return now - before[1] > (PRESS_SECONDS if pressed else ONE_SECONDS)


def leave(code: int, words: str) -> NoReturn:
    """Ends the process at once with a last line, whatever other threads do or hold. Committed
    checkpoints survive.
    """
    say(words)
    os._exit(code)


def say(words: str) -> None:
    """Writes a line to stderr without taking any lock; gives up if stderr is a full pipe that
    nobody reads.
    """
    start = "\n" if os.isatty(2) else ""  # below a progress bar
    if select.select([], [2], [], 0)[1]:
        os.write(2, f"{start}lm-lab: {words}\n".encode())
