"""How far a sweep is: one line that moves in a terminal, plain lines now and then elsewhere."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TextIO

SPARED = 20


class Counts(NamedTuple):
    """Runs of this launch that are done (complete or diverged), failed and left; the estimated
    seconds for those left, None if unknown.
    """

    done: int
    failed: int
    left: int
    seconds_left: float | None
    losses: Sequence[float] = ()  # in training, of the runs under way


class Progress:
    """Shows counts, rate and time left for as long as its with-block lasts; `count` looks at the
    run directories.
    """

    def __init__(self, count: Callable[[], Counts], stream: TextIO) -> None:
        self._count = count
        self._stream = stream
        self._live = stream.isatty()
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._refresh, name="progress", daemon=True)
        self._shown = ""
        self._next = 0.0  # when counting again is worth its time

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._show()
        if self._live:
            self._stream.write("\n")

    def say(self, line: str) -> None:
        """Prints a line above the moving one."""
        with self._writing:
            self._stream.write(f"\r\x1b[K{line}\n" if self._live else f"{line}\n")
            self._stream.flush()

    def show(self) -> None:
        """Shows the line of counts, unless it is unchanged, or has just been shown: counting takes
        at most one part in SPARED of the time.
        """
        began = time.monotonic()
        if began >= self._next:
            self._show()
            ended = time.monotonic()
            self._next = ended + SPARED * (ended - began)

    def _show(self) -> None:
        line = progress_line(self._count(), time.monotonic() - self._started)
        with self._writing:
            if self._live:  # a line that wraps could not be taken back
                self._stream.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            elif line != self._shown:
                self._stream.write(f"{line}\n")
            self._shown = line
            self._stream.flush()

    def _refresh(self) -> None:
        while not self._stop.wait(1.0 if self._live else 30.0):
            self.show()


def progress_line(counts: Counts, seconds: float) -> str:
    """ "7 of 12 runs, 1 failed, 4 left | 3.5 runs a minute | 0:01:30 passed, 0:01:20 left"."""
    ended = counts.done + counts.failed
    total = ended + counts.left
    failed = f", {counts.failed} failed" if counts.failed else ""
    rate = f"{60 * ended / seconds:.1f}" if ended and seconds > 0 else "?"
    left = "?" if counts.seconds_left is None else clock(counts.seconds_left)
    runs = f"{counts.done} of {total} runs{failed}, {counts.left} left"
    return (
        f"{runs}{_losses(counts.losses)} | {rate} runs a minute | {clock(seconds)} passed, "
        f"{left} left"
    )


def _losses(losses: Sequence[float]) -> str:
    """As in ", loss 2.345 .. 3.012 of 4 under way"."""
    if not losses:
        return ""
    between = (
        f"{min(losses):.3f}" if len(losses) == 1 else f"{min(losses):.3f} .. {max(losses):.3f}"
    )
    return f", loss {between} of {len(losses)} under way"


def clock(seconds: float) -> str:
    """h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
