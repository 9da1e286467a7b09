"""Copies of metrics.jsonl for other programs: TensorBoard's events, W&B. A copy that fails, or that
waits for a disk or a server that never answers, neither ends a run nor holds it.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 60.0  # that the end of a run waits for a copy


class Writer(Protocol):
    """What writes a copy; any of it may raise."""

    def write(self, record: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class Copy:
    """A copy in `place`, fed by a thread of its own, in which `make` opens it too.

    When something of it raises it is given up, with one warning.
    """

    def __init__(self, place: Path, name: str, make: Callable[[], Writer]) -> None:
        self._place, self._name, self._make = place, name, make
        self._records: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        self._is_given_up = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def write(self, record: Mapping[str, Any]) -> None:
        """Hands over a record of metrics.jsonl."""
        if self._thread.is_alive():
            self._records.put(record)

    def close(self) -> None:
        """Waits until all records are written, for CLOSE_SECONDS at most."""
        self._records.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._give_up(f"not written after {CLOSE_SECONDS:.0f} s")

    def _run(self) -> None:
        try:
            writer = self._make()
            try:
                while (record := self._records.get()) is not None:
                    writer.write(record)
            finally:
                writer.close()
        except Exception as error:  # noqa: BLE001 - no failure of a copy may end the run
            said = error.strerror if isinstance(error, OSError) and error.strerror else error
            self._give_up(f"{type(error).__name__}: {' '.join(str(said).split())}")

    def _give_up(self, why: str) -> None:
        if self._is_given_up:
            return
        self._is_given_up = True
        words = "%s: no more of %s (%s); metrics.jsonl has all that it shows"
        logger.warning(words, self._place, self._name, why)
