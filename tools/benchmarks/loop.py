"""Whether the device waits for the host while `lm-lab train` trains: a trace of jax.profiler of
configs/decoder_tiny.py, after its first evaluation, with its log, further evaluations and saves.

The device waits where no program runs. The figure shows when programs ran, and when the loop began
to prepare a call of 10 steps, around an evaluation and save.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import numpy as np
from matplotlib.figure import Figure

from configs.decoder_tiny import get_config
from lm_lab.config import override, resolve
from lm_lab.report import style
from lm_lab.train import loop
from lm_lab.train.run import Run
from tools.benchmarks.results import Row

CALL, STEPS_PER_CALL, SHOWN = "prepare a call", 10, 8  # calls in the figure


class Trace(NamedTuple):
    """What a trace of the loop shows, in seconds."""

    calls: np.ndarray  # f64[n]: when the loop began to prepare each
    programs: np.ndarray  # f64[m 2]: when each program began and ended, in order

    @property
    def waits(self) -> np.ndarray:
        """Lengths f64[m - 1] of the times between programs."""
        ends = np.maximum.accumulate(self.programs[:-1, 1])
        return np.maximum(0.0, self.programs[1:, 0] - ends)


def add_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--loop-figure", metavar="FILE", help="where to draw it, as PNG")


def run(flags: Namespace) -> Iterator[Row]:
    steps = 80 if flags.quick else 400
    due = {f"train.{name}_every_steps": steps // 4 for name in ("eval", "checkpoint")}
    changes = {"train.steps": steps, "train.log_every_steps": STEPS_PER_CALL, **due}
    with tempfile.TemporaryDirectory() as folder:
        trace = traced(override(get_config(), changes), Path(folder))
    seconds = np.ptp(trace.programs)
    yield Row("device without a program", "% of the time", 100 * trace.waits.sum() / seconds)
    yield Row("longest time without a program", "ms", 1000 * trace.waits.max())
    yield Row("a call of 10 steps", "ms", 1000 * float(np.median(np.diff(trace.calls))))
    if flags.loop_figure:
        draw(trace, flags.loop_figure)


def traced(config: Any, folder: Path) -> Trace:
    """The trace of a run of the config, from the first call after its first evaluation on."""
    experiment, resolved = resolve(config)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    marked = jax.profiler.annotate_function(loop.next_stop, name=CALL)
    with (
        patch.object(loop, "next_stop", marked),
        jax.profiler.trace(str(folder / "trace"), profiler_options=options),
    ):
        loop.train([Run(experiment, resolved, folder / "run")])
    (path,) = (folder / "trace").rglob("*.xplane.pb")
    skipped = experiment.train.eval_every_steps or 0
    return read(jax.profiler.ProfileData.from_file(str(path)), skipped // STEPS_PER_CALL)


def read(profile: Any, skipped: int) -> Trace:
    """The calls of a profile but for those `skipped`, and the programs from the next one to the
    last.
    """
    calls, spans = [], defaultdict[int, list[float]](list)
    for event in (each for plane in profile.planes for line in plane.lines for each in line.events):
        begin = event.start_ns / 1e9
        if event.name == CALL:
            calls.append(begin)
            continue
        stats = dict(event.stats)
        if "hlo_op" in stats:
            spans[stats["run_id"]] += [begin, begin + event.duration_ns / 1e9]
    times = np.sort(calls)[skipped:]
    programs = np.array(sorted([min(span), max(span)] for span in spans.values()))
    inside = (programs[:, 0] >= times[0]) & (programs[:, 0] < times[-1])
    return Trace(times - times[0], programs[inside] - times[0])


def draw(trace: Trace, path: str) -> None:
    """The trace around its second evaluation."""
    middle = len(trace.calls) // 3
    first, last = trace.calls[middle - SHOWN // 2], trace.calls[middle + SHOWN // 2]
    with style.applied():
        figure = Figure(figsize=(style.PAGE_INCHES, 1.8), layout="constrained")
        axes = figure.subplots()
        spans = [(begin, end - begin) for begin, end in trace.programs]
        axes.broken_barh(spans, (0.6, 0.8), facecolor=style.COLOURS[0], edgecolor="white")
        axes.vlines(trace.calls, -0.4, 0.4, color=style.INK)
        axes.set_yticks([1, 0], ["a program runs", "the loop prepares\na call"])
        axes.set(xlim=(first, last), ylim=(-0.6, 1.6), xlabel="seconds")
        figure.savefig(path, dpi=150)
