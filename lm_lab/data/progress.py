"""Progress on stderr: a bar on a terminal, plain lines elsewhere, nothing at all for work of less
than a second.
"""

import sys
import time

from tqdm import tqdm

QUIET_SECONDS = 1.0
SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Counts bytes of `total`; use as a context manager, and `add` to it."""

    def __init__(self, label: str, total: int | None = None) -> None:
        """`label` says what is done; `total` is None where it is not known."""
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
        """The counter itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self._bar.close()

    def add(self, amount: int) -> None:
        """Say that `amount` more bytes are done."""
        self._bar.update(amount)
        self._done += amount
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            of_total = f" of {self._total / 1e6:.0f} MB" if self._total else " MB"
            print(f"{self._label}: {self._done / 1e6:.0f}{of_total}", file=sys.stderr, flush=True)
