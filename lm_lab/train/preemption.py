"""Being told to stop: SIGTERM (a scheduler's) and SIGINT (Ctrl-C) end a run with everything saved."""

import signal
import threading
from types import FrameType


class Preempted(Exception):
    """A run was told to stop, and has saved itself. The message says at which step."""


class Signals:
    """Inside `with`, `received` names the first signal that came; a second one acts at once.

    Python delivers signals to the main thread alone: elsewhere nothing is caught.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    def __enter__(self) -> "Signals":
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        for each, handler in self._before.items():
            signal.signal(each, handler)
