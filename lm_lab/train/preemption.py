"""Being told to stop: SIGTERM (a scheduler's) and SIGINT (Ctrl-C) end a run with everything saved."""

import signal
import threading
from types import FrameType


class Preempted(Exception):
    """A run was told to stop by a signal, and has saved itself after a step."""

    def __init__(self, received: signal.Signals, step: int) -> None:
        super().__init__(f"{received.name} at step {step}: saved; the same command goes on from there")
        self.signal = received


class Signals:
    """Inside `with`, `received` is the first signal that came; a second one acts at once.

    Python delivers signals to the main thread alone: elsewhere nothing is caught.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __enter__(self) -> "Signals":
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for each, handler in self._before.items():
            signal.signal(each, handler)
