"""Progress on stderr: a bar on a terminal, else plain lines; nothing for work under a second."""

import sys
import time

from tqdm import tqdm

QUIET_SECONDS = 1.0
SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts bytes towards `total`; a context manager whose `add` advances it."""

    def __init__(self, label: str, total: int | None = None) -> None:
        """`label` names the work; `total` is None if unknown."""
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            desc=label,
            total=total,
            unit="B",
            unit_scale=True,
            delay=QUIET_SECONDS,
            disable=not terminal,
        )
        self._label, self._total, self._done = label, total, 0
        self._next_line = float("inf") if terminal else time.monotonic() + QUIET_SECONDS

    def __enter__(self) -> "Progress":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the bar."""
        self._bar.close()

    def add(self, amount: int) -> None:
        """Counts `amount` more bytes."""
        self._bar.update(amount)
        self._done += amount
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            largest = self._total or self._done
            unit, size = ("MB", 1e6) if largest >= 1e7 else ("kB", 1e3)
            of_total = f" of {self._total / size:.0f}" if self._total else ""
            print(
                f"{self._label}: {self._done / size:.0f}{of_total} {unit}",
                file=sys.stderr,
                flush=True,
            )
