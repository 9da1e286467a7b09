"""Processes of this machine, each pinned to cores of its own."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from lm_lab.contracts import Executor, Outcome, Unit, UnitCosts
from lm_lab.runs.durable import explained, make_folder
from lm_lab.runs.records import usable_cores
from lm_lab.schema import setting
from lm_lab.sweeps.executors import next_ready
from lm_lab.sweeps.groups import best_workers
from lm_lab.sweeps.process import POLL_SECONDS, end

GRACE_SECONDS = 30.0  # from the request to end until the kill: time to commit a checkpoint
ERROR = re.compile(r"lm-lab: |[\w.]+(Error|Exception)\b")
CACHE = "JAX_COMPILATION_CACHE_DIR"
CHILD = Path(__file__).parents[1] / "child.py"


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the executor."""

    workers: int | None = setting(
        "processes at a time, which share the cores evenly; None: as many as end the sweep first, "
        "one a core where runs are alike, fewer where a few are most of it; one on an accelerator",
        None,
        low=1,
    )


@dataclasses.dataclass(frozen=True)
class _Running:
    unit: Unit
    process: subprocess.Popen[bytes]
    slot: int
    log_start: int


@dataclasses.dataclass(frozen=True)
class LocalProcesses:
    """At most `workers` processes of this machine, units started in the given order, but for those
    that have to wait.

    Several workers are pinned to disjoint sets of equally many cores. Measured on 4 cores, width
    64, depth 2: four such runs train 287-307 thousand tokens a second together, one run on all
    cores 99 thousand. The workers share a folder for JAX's compilation cache, unless the
    environment names one, because runs of one size at several budgets compile the same program. The
    folder is deleted with the launch, as its machine code is for this machine.
    """

    workers: int

    def run(self, units: Sequence[Unit]) -> Generator[Outcome, None, None]:
        waiting = list(units)
        slots = core_slots(self.workers)
        free = list(reversed(range(self.workers)))
        running: list[_Running] = []
        with tempfile.TemporaryDirectory(prefix="lm_lab_compiled_") as compiled:
            environment = {CACHE: compiled, **os.environ}
            try:
                while waiting or running:
                    while free and (unit := next_ready(waiting, is_idle=not running)):
                        waiting.remove(unit)
                        slot = free.pop()
                        running.append(_start(unit, slot, slots[slot], environment))
                    for ended in [one for one in running if one.process.poll() is not None]:
                        running.remove(ended)
                        free.append(ended.slot)
                        yield _outcome(ended)
                    if running:
                        time.sleep(POLL_SECONDS)
            finally:
                end([one.process for one in running], GRACE_SECONDS)


def make(config: Config, platform: str) -> LocalProcesses:
    """The executor. An accelerator gets one worker, whose runs share it."""
    return LocalProcesses(config.workers or 1)


def resolve(config: Config, platform: str, costs: UnitCosts) -> Config:
    """The settings with the number of workers with which the sweep ends first."""
    if config.workers or platform != "cpu":
        return config
    return Config(workers=best_workers(costs, len(usable_cores())))


def core_slots(workers: int) -> list[str]:
    """The cores of each worker as "0,1"; empty, for any, with one worker or where the platform
    cannot pin.

    Every slot has the same number of cores, even if some stay idle: XLA's sums depend on how many
    threads share them, and a run that is resumed in another slot must go on to the same bits.
    """
    if workers == 1 or sys.platform != "linux":
        return [""] * workers
    cores = usable_cores()
    each = max(1, len(cores) // workers)
    return [
        ",".join(str(cores[(slot * each + i) % len(cores)]) for i in range(each))
        for slot in range(workers)
    ]


def last_words(text: str) -> str:
    """The last line that tells an error (ours, or a Python exception), else the last that says
    anything.

    What comes after an error is noise: warnings at exit, a moving bar.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return next(iter([*errors[-1:], *lines[-1:]]), "")


def _start(unit: Unit, slot: int, cores: str, environment: Mapping[str, str]) -> _Running:
    with explained(unit.log, "write"):
        make_folder(unit.log.parent)
        log = unit.log.open("ab")
    with log:
        wrapped = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), cores, *unit.command]
        # A session of its own: Ctrl-C at the terminal reaches the launcher alone, which then ends
        # its children.
        process = subprocess.Popen(
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        return _Running(unit, process, slot, log.tell())


def _outcome(ended: _Running) -> Outcome:
    code, last = ended.process.returncode, said_since(ended.unit.log, ended.log_start)
    return Outcome(ended.unit, code, explain(code, last))


def explain(code: int, last: str) -> str:
    """Why a process left no result, from its exit code and its last line: a failing program's last
    line says it.
    """
    if code > 0 and last:
        return last
    if code < 0:
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        reason = f"killed by {signal.Signals(-code).name}{hint}"
    else:
        reason = f"ended with exit code {code} and no result"
    return f"{reason}; it last said: {last}" if last else reason


def said_since(log: Path, start: int) -> str:
    """The last words in a log from a byte on; "" where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - 10_000))
            return last_words(file.read().decode(errors="replace"))
    except OSError:
        return ""


EXECUTOR = Executor(Config, make, resolve)
