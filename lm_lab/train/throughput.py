"""How fast runs are trained: the seconds of finished calls, handed to the records of each run."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np

from lm_lab.compute import device
from lm_lab.engine.nonfinite import LOST
from lm_lab.runs import peers
from lm_lab.train.compiled import CompiledProgram, split
from lm_lab.train.preemption import say
from lm_lab.train.progress import Progress
from lm_lab.train.shared_writer import share_results
from lm_lab.train.writer import RunWriter
from lm_lab.types import Sums
from lm_lab.values import first_few


class Call(NamedTuple):
    """A call of the compiled step."""

    first_step: int
    stop: int  # the step after its last
    metrics: Sums  # [P K]


class ThroughputMeter:
    """Logs finished calls with the seconds that they took, and shows progress.

    The clock runs from one `log` or `pause` to the next: the time between a `log` and the `pause`
    after it is not training time.
    """

    def __init__(self, compiled: CompiledProgram, writers: list[RunWriter], step: int) -> None:
        self._compiled, self._writers = compiled, writers
        self._calls: list[Call] = []
        label = writers[0].run.directory.name if len(writers) == 1 else f"{len(writers)} runs"
        self._progress = Progress(compiled.program.steps, step, label, shown=peers.is_first())
        self._last = time.monotonic()

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """The block compiles while nothing else runs. Its seconds are divided among the runs, and
        are not training time.
        """
        begin = time.monotonic()
        with self._progress.compiling():
            yield
        seconds = (time.monotonic() - begin) / len(self._writers)
        for writer in self._writers:
            writer.compiled(seconds)
        self.pause()

    def add(self, first_step: int, stop: int, metrics: Sums) -> None:
        """Adds a call that was dispatched and may still be running."""
        self._calls.append(Call(first_step, stop, metrics))

    def log(self, still_running: int = 0) -> None:
        """Waits for all calls but the last `still_running`, and logs them; the seconds are divided
        in proportion to their steps.
        """
        calls = self._calls[: len(self._calls) - still_running]
        self._calls = self._calls[len(calls) :]
        if not calls:
            return
        fetched = [jax.device_get(dict(call.metrics)) for call in calls]
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        count, steps = len(self._writers), calls[-1].stop - calls[0].first_step
        tokens_per_second = count * steps / seconds * self._compiled.program.targets_per_step
        for call, metrics in zip(calls, fetched):
            own_seconds = seconds * (call.stop - call.first_step) / steps / count
            for writer, of_member in zip(self._writers, split(metrics, count)):
                self._tell_lost(writer, call, of_member)
                writer.log(call.first_step, of_member, own_seconds, tokens_per_second)
        share_results(self._writers)
        self._show(calls[-1].stop, tokens_per_second)

    def _tell_lost(self, writer: RunWriter, call: Call, metrics: Sums) -> None:
        """Says on stderr which steps of a call trained nothing, as they were not finite."""
        if LOST not in metrics or writer.result is not None or not peers.is_first():
            return
        steps = [str(call.first_step + 1 + index) for index in np.flatnonzero(metrics[LOST])]
        if steps:
            say(f"{writer.run.directory.name}: not finite, so lost: step {first_few(steps)}")

    def _show(self, step: int, tokens_per_second: float) -> None:
        if not peers.is_first():
            return
        program = self._compiled.program
        flops_per_token = program.flops_per_step / program.targets_per_step
        peak_share = device.utilisation(
            tokens_per_second * flops_per_token / self._compiled.mesh.size,
            jax.devices()[0].device_kind,
            self._writers[0].run.experiment.precision.compute,
        )
        loss = _mean([writer.loss for writer in self._writers if writer.result is None])
        epochs = self._compiled.feed.epochs(step)
        mixture = epochs if len(epochs) > 1 else {}
        self._progress.update(step, loss, tokens_per_second, peak_share, mixture)

    def show_evaluation(self) -> None:
        """Shows the held-out loss, the mean over the unfinished runs."""
        if not peers.is_first():
            return
        going = [writer.held_out for writer in self._writers if writer.result is None]
        self._progress.show_evaluation(_mean(going))

    def pause(self) -> None:
        """Leaves the time since the last `log` or `pause` out of training time."""
        self._last = time.monotonic()

    def close(self) -> None:
        """Ends the display."""
        self._progress.close()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
