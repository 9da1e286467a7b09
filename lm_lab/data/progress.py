"""Progress on stderr: a bar on a terminal, else plain lines; nothing for work under a second."""

import sys
import time

from tqdm import tqdm

QUIET_SECONDS = 1.0
SECONDS_BETWEEN_LINES = 5.0
SCALES = ((1e6, "M"), (1e3, "k"))


class Progress:
    """Counts bytes, or other units, towards `total`; a context manager whose `add` advances it."""

    def __init__(
        self, label: str, total: int | None = None, unit: str = "B", *, shown: bool = True
    ) -> None:
        """`label` names the work; `total` is None if unknown; units other than bytes begin with a
        space. Nothing is printed unless `shown`.
        """
        terminal = sys.stderr.isatty()
        self._bar = tqdm(
            desc=label,
            total=total,
            unit=unit,
            unit_scale=True,
            delay=QUIET_SECONDS,
            disable=not (terminal and shown),
        )
        self._label, self._total, self._unit, self._done = label, total, unit, 0
        has_lines = shown and not terminal
        self._next_line = time.monotonic() + QUIET_SECONDS if has_lines else float("inf")

    def __enter__(self) -> "Progress":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the bar."""
        self._bar.close()

    def add(self, amount: int) -> None:
        """Counts `amount` more."""
        self._bar.update(amount)
        self._done += amount
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            largest = self._total or self._done
            large = (scale for scale in SCALES if largest >= 10 * scale[0])
            size, prefix = next(large, (1, ""))
            of_total = f" of {self._total / size:.0f}" if self._total else ""
            unit = f"{prefix}{self._unit}".lstrip()
            print(
                f"{self._label}: {self._done / size:.0f}{of_total} {unit}",
                file=sys.stderr,
                flush=True,
            )
