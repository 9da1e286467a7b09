"""The records of a run that several processes train.

The first process alone reads and writes the run's directory. The others do what the first does
with the devices, so it tells them all that this depends on: where the run stands, whether it has
ended, and errors of the user.
"""

import itertools
import shutil
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lm_lab.runs import arrays, peers
from lm_lab.runs.commits import TRASH
from lm_lab.runs.durable import explained, fsync_tree
from lm_lab.train.feed import Feed
from lm_lab.train.preemption import Signals
from lm_lab.train.program import Program
from lm_lab.train.run import BoundRun, Place
from lm_lab.train.writer import RunWriter
from lm_lab.types import PyTree, UserError

_SAVES = itertools.count()  # all processes make the same saves, in the same order


def open_writer(run: BoundRun, alone: bool) -> RunWriter:
    """The records of a run, for the processes that there are."""
    return RunWriter(run, alone) if peers.count() == 1 else SharedWriter(run, alone)


class SharedWriter(RunWriter):
    """As RunWriter, for each of several processes. Methods that may wait for the first are called
    by all, in the same order.
    """

    def __enter__(self) -> "SharedWriter":
        def enter() -> tuple[dict[str, Any] | None, str]:
            super(SharedWriter, self).__enter__()
            return self.result, self._claim.identity

        self.result, self._identity = peers.of_first(enter)
        self._pool = ThreadPoolExecutor(1, "shared-save")
        self._written: Future[None] | None = None
        self._step = 0  # of the newest save
        return self

    def __exit__(self, *error: Any) -> None:
        if peers.is_first():
            super().__exit__(*error)
        self._pool.shutdown()

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def saving(self) -> int | None:
        written = self._written
        if written is not None and not written.done():
            return self._step
        return super().saving if peers.is_first() else None

    def newest(self, at_most: int | None = None) -> Place:
        return peers.of_first(lambda: super(SharedWriter, self).newest(at_most))

    def _saved(self, step: int) -> tuple[Path, dict[str, str], dict[str, Any]]:
        return peers.of_first(lambda: super(SharedWriter, self)._saved(step))

    def begin(
        self,
        program: Program,
        feed: Feed,
        base: str,
        population: str,
        step: int,
        extra: Mapping[str, Any],
    ) -> None:
        peers.of_first(
            lambda: super(SharedWriter, self).begin(program, feed, base, population, step, extra)
        )

    def compiled(self, seconds: float) -> None:
        if peers.is_first():
            super().compiled(seconds)

    def log(
        self, first_step: int, metrics: Mapping[str, np.ndarray], seconds: float, rate: float
    ) -> None:
        if peers.is_first():
            super().log(first_step, metrics, seconds, rate)

    def log_evaluation(
        self,
        step: int,
        sums: Mapping[str, Mapping[str, Any]],
        measured: Mapping[str, Mapping[str, float]],
        tasks: Mapping[str, Mapping[str, float]],
    ) -> None:
        if peers.is_first():
            super().log_evaluation(step, sums, measured, tasks)

    def save(self, step: int, state: PyTree) -> None:
        if self.result is not None:
            return
        draft = peers.of_first(lambda: self._draft(step))
        if draft is None:
            return
        number = next(_SAVES)
        with explained(draft, "save the checkpoint"):
            finish = arrays.begin_to_write(draft, state)

        def finish_here() -> None:
            fault = None
            try:
                finish()
                for own in draft.glob(f"*/ocdbt.process_{peers.index()}"):
                    fsync_tree(own)
            except OSError as error:
                fault = f"{draft}: cannot save the checkpoint: {error.strerror or error}"
            peers.post(f"saves/{number}/{peers.index()}", fault)

        self._step, self._written = step, self._pool.submit(finish_here)
        if peers.is_first():
            self._write = partial(self._placed, draft, number)
            super().save(step, state)

    def _draft(self, step: int) -> Path | None:
        """Where the arrays of a step are written; None where it is committed already."""
        if self._checkpoints.is_saved(step):
            return None
        folder = self.run.directory.absolute() / "checkpoints" / TRASH
        with explained(folder, "write there"):
            folder.mkdir(exist_ok=True)
            shutil.rmtree(folder / f"shared_{step}", ignore_errors=True)
        return folder / f"shared_{step}"

    def _placed(self, draft: Path, number: int, place: Path) -> None:
        """Moves what all processes have written of a save to its place, once they have."""
        for other in range(peers.count()):
            if fault := peers.read(f"saves/{number}/{other}"):
                raise UserError(str(fault))
        draft.replace(place)

    def wait(self) -> None:
        if self._written is not None:
            self._written.result()
        peers.of_first(super().wait)

    def close(self) -> None:
        def close() -> dict[str, Any] | None:
            super(SharedWriter, self).close()
            return self.result

        self.result = peers.of_first(close)


def share_results(writers: Sequence[RunWriter]) -> None:
    """Tells all processes which runs have ended."""
    if peers.count() > 1:
        results = peers.of_first(lambda: [writer.result for writer in writers])
        for writer, result in zip(writers, results):
            writer.result = result


def agreed(signals: Signals) -> signal.Signals | None:
    """The signal to stop that any process has received, the same in all at the same step."""
    if peers.count() == 1:
        return signals.received
    if signals.received:
        peers.post(f"signals/{peers.index()}", signals.received)
    received = peers.of_first(lambda: list(peers.posted("signals").values()))
    if not received:
        return None
    signals.received = signal.Signals(received[0])  # which hurries the watchdog
    return signals.received
