"""Faults that befall a run: each launches it once, or damages what it has stored."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cli.cli_helpers import killed_at, start
from tests.sweeps.fakes import wait_for

SAVING = (
    "lm_lab.runs.commits.write_arrays",
    "lm_lab.runs.commits.write_manifest",
    "lm_lab.runs.records.Metrics.write",
)
Strike = Callable[[Sequence[str], Path, random.Random], int | None]


def signalled(number: signal.Signals) -> Strike:
    """The signal comes at a random moment, in start-up or later."""

    def strike(words: Sequence[str], run: Path, draw: random.Random) -> int:
        begun, before = run / "environment.json", _changed(run)
        with start(*words) as process:
            wait_for(lambda: process.poll() is not None or _changed(run) != before, seconds=120)
            assert begun.exists() or process.poll() is not None
            time.sleep(draw.uniform(0, 1))
            if number == signal.SIGKILL and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.send_signal(number)
            process.communicate(timeout=600)
            return process.wait()

    return strike


def hung(point: str) -> Strike:
    """A call hangs, and the watchdog, made hasty, ends the process."""

    def strike(words: Sequence[str], run: Path, draw: random.Random) -> int:
        return killed_at("HANG", point, draw.randint(2, 4), *words).returncode

    return strike


def full(words: Sequence[str], run: Path, draw: random.Random) -> int:
    """From a random moment on no file may grow, as on a full disk."""
    return killed_at("FULL", draw.choice(SAVING), draw.randint(1, 3), *words).returncode


def flipped(words: Sequence[str], run: Path, draw: random.Random) -> None:
    """A bit of a file of the newest checkpoint is flipped; nothing is launched."""
    steps = sorted((run / "checkpoints").glob("step_*"))
    if len(steps) > 1:  # a run whose only checkpoint is damaged asks what to do
        files = [path for path in sorted(steps[-1].rglob("*")) if path.is_file()]
        path = draw.choice([path for path in files if path.stat().st_size])
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)


# Each fault, and the exit codes that it may end a launch with; 0: the run was complete before.
FAULTS: dict[str, tuple[Strike, tuple[int | None, ...]]] = {
    "kill -9": (signalled(signal.SIGKILL), (-signal.SIGKILL, 0)),
    "SIGTERM": (signalled(signal.SIGTERM), (75, 0)),
    "SIGUSR1": (signalled(signal.SIGUSR1), (75, 0)),
    "Ctrl-C": (signalled(signal.SIGINT), (130, 0)),
    "full disk": (full, (2, 0)),
    "flipped bit": (flipped, (None,)),
    "stuck loader": (hung("lm_lab.data.mixture.Mixed.chunk"), (75, 0)),
    "stuck save": (hung("lm_lab.runs.commits.write_arrays"), (75, 0)),
}


def strike(name: str, words: Sequence[str], run: Path, draw: random.Random) -> int | None:
    """The exit code of a launch that a fault befell, or None. Raises AssertionError for another
    than the fault should have.
    """
    fault, codes = FAULTS[name]
    code = fault(words, run, draw)
    assert code in codes, f"{name}: exit code {code}, not one of {codes}"
    return code


def _changed(run: Path) -> int:
    file = run / "environment.json"
    return file.stat().st_mtime_ns if file.exists() else 0
