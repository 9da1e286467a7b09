"""Job arrays of a Slurm cluster, one array task a unit; the launcher waits for them and retries.

The sweep's folder must be on a file system that the nodes and the launcher share: an array's files
(its script, Slurm's own output, a file with the exit code of each task) lie in DIR/slurm/. Tasks
that are pre-empted, requeued or lost with their node go on from their runs' checkpoints.
"""

import contextlib
import dataclasses
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from lm_lab.contracts import Executor, Outcome, Unit
from lm_lab.runs.durable import atomic_write, explained, make_folder
from lm_lab.schema import setting
from lm_lab.sweeps.executors import next_ready
from lm_lab.sweeps.executors.local import explain, said_since
from lm_lab.train.preemption import RESUME
from lm_lab.types import UserError

# Exit codes after which a run goes on: it says so, or was ended before it could.
AGAIN = (RESUME, 128 + signal.SIGTERM, 128 + signal.SIGKILL)
MOST_TASKS = 1000  # of an array: one less than Slurm's MaxArraySize, where nobody raised it
LOST_AFTER = 3  # looks at which a task has left the queue, and its exit code is not there
ARRAY = """#!/bin/bash
#SBATCH --job-name=lm_lab
#SBATCH --array=0-{last}%{workers}
#SBATCH --output={folder}/%a.out
#SBATCH --signal=B:TERM@{warning}
#SBATCH --requeue
{options}
# A signal goes on to the program, which saves and ends; its exit code is then told by a file.
trap 'kill -TERM $program' TERM
case $SLURM_ARRAY_TASK_ID in
{tasks}
esac
program=$!
wait $program
code=$?
while kill -0 $program 2> /dev/null; do
    wait $program
    code=$?
done
echo $code > {folder}/$SLURM_ARRAY_TASK_ID.part
mv {folder}/$SLURM_ARRAY_TASK_ID.part {folder}/$SLURM_ARRAY_TASK_ID.code
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the executor; what is None is left to the cluster."""

    workers: int = setting("array tasks at a time", 16, low=1)
    partition: str | None = setting("sbatch's --partition", None)
    account: str | None = setting("sbatch's --account", None)
    time: str | None = setting("sbatch's --time of a task, as 4:00:00", None)
    cpus: int | None = setting("sbatch's --cpus-per-task", None, low=1)
    gpus: int | None = setting("sbatch's --gpus-per-task", None, low=1)
    memory: str | None = setting("sbatch's --mem, as 16G", None)
    options: tuple[str, ...] = setting("further options of sbatch, as ('--qos=long',)", ())
    setup: str = setting("a line of shell before the command, as 'module load cuda'", "")
    warning_seconds: int = setting("before the time ends a task is told to save", 120, low=10)
    retries: int = setting("how often a unit that was pre-empted or lost begins again", 5, low=0)
    poll_seconds: float = setting("between two looks at the queue", 5.0, low=0.01)


@dataclasses.dataclass
class _Task:
    """A unit in the queue."""

    unit: Unit
    job: str  # of the array, as squeue names it: "17_3"
    folder: Path
    log_start: int
    unseen: int = 0  # looks at which it was not in the queue

    @property
    def code(self) -> int | None:
        """Its exit code, once it has told it."""
        file = self.folder / f"{self.job.rpartition('_')[2]}.code"
        try:
            return int(file.read_text())
        except (OSError, ValueError):
            return None


@dataclasses.dataclass(frozen=True)
class SlurmArrays:
    """Units as tasks of job arrays."""

    config: Config

    @property
    def workers(self) -> int:
        """Array tasks at a time."""
        return self.config.workers

    def run(self, units: Sequence[Unit]) -> Generator[Outcome, None, None]:
        """Submits units as soon as they may begin, and waits. Jobs that are left when the iterator
        is closed are cancelled: their runs save first. Raises UserError for what sbatch refuses.
        """
        tries = {unit.names: 0 for unit in units}
        waiting, tasks = list(units), list[_Task]()
        try:
            while tasks or waiting:
                ready: list[Unit] = []
                while unit := next_ready(waiting, is_idle=not tasks and not ready):
                    waiting.remove(unit)
                    ready.append(unit)
                tasks += self._submit(ready)
                queue = _queue(tasks)
                again: list[Unit] = []
                for task in list(tasks):
                    if (code := _ended(task, queue)) is None:
                        continue
                    tasks.remove(task)
                    if code in AGAIN and tries[task.unit.names] < self.config.retries:
                        tries[task.unit.names] += 1
                        again.append(task.unit)
                    else:
                        yield _outcome(task, code)
                tasks += self._submit(again)
                if tasks:
                    time.sleep(self.config.poll_seconds)
        finally:
            _cancel(tasks)

    def _submit(self, units: Sequence[Unit]) -> list[_Task]:
        """Arrays of the units, in the order in which they are to start."""
        return [
            task
            for first in range(0, len(units), MOST_TASKS)
            for task in self._submit_array(units[first : first + MOST_TASKS])
        ]

    def _submit_array(self, units: Sequence[Unit]) -> list[_Task]:
        place = units[0].log.parents[2] / "slurm"  # DIR/runs/NAME/log.txt
        with explained(place, "write the job array"):
            make_folder(place)
            folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=place))
            for unit in units:
                make_folder(unit.log.parent)
        script = folder / "array.sh"
        atomic_write(script, self._script(units, folder))
        job = _call("sbatch", "--parsable", str(script)).strip().partition(";")[0]
        return [
            _Task(unit, f"{job}_{number}", folder, _size(unit.log))
            for number, unit in enumerate(units)
        ]

    def _script(self, units: Sequence[Unit], folder: Path) -> str:
        config = self.config
        wanted = {
            "partition": config.partition,
            "account": config.account,
            "time": config.time,
            "cpus-per-task": config.cpus,
            "gpus-per-task": config.gpus,
            "mem": config.memory,
        }
        options = [f"--{name}={value}" for name, value in wanted.items() if value is not None]
        lines = [f"#SBATCH {one}" for one in (*options, *config.options)]
        tasks = [
            f"{number}) {shlex.join(unit.command)} >> {shlex.quote(str(unit.log))} 2>&1 & ;;"
            for number, unit in enumerate(units)
        ]
        return ARRAY.format(
            last=len(units) - 1,
            workers=config.workers,
            warning=config.warning_seconds,
            folder=shlex.quote(str(folder)),
            options="\n".join([*lines, config.setup]),
            tasks="\n".join(tasks),
        )


def make(config: Config, platform: str) -> SlurmArrays:
    """The executor. Raises UserError where there is no Slurm."""
    del platform  # that of the launcher, which trains nothing
    if shutil.which("sbatch") is None:
        raise UserError(
            "--executor=slurm needs sbatch, which is not on PATH; launch on a node of the cluster "
            "from which jobs are submitted, or leave it out for processes here"
        )
    return SlurmArrays(config)


def _queue(tasks: Sequence[_Task]) -> set[str] | None:
    """The tasks that wait or run, as "17_3"; None where the controller does not answer."""
    jobs = ",".join(sorted({task.job.partition("_")[0] for task in tasks}))
    try:
        said = _call("squeue", "--noheader", "--array", "--format=%i", f"--jobs={jobs}")
    except UserError as error:
        # all of a job's tasks have left the queue so long ago that it is forgotten
        return set() if "Invalid job id" in str(error) else None
    return {word for word in said.split() if re.fullmatch(r"\d+_\d+", word)}


def _ended(task: _Task, queue: set[str] | None) -> int | None:
    """The exit code of a task that has ended; one that was lost counts as killed. None: it has
    not.
    """
    if (code := task.code) is not None:
        return code
    if queue is None or task.job in queue:
        task.unseen = 0
        return None
    task.unseen += 1  # a file may be seen later than the queue says that its writer has ended
    return 128 + signal.SIGKILL if task.unseen >= LOST_AFTER else None


def _outcome(task: _Task, code: int) -> Outcome:
    code = 128 - code if code > 128 else code  # a shell's number for a signal, as Popen has it
    words = explain(code, said_since(task.unit.log, task.log_start))
    return Outcome(task.unit, code, f"{words} (Slurm job {task.job}, {task.folder})")


def _cancel(tasks: Sequence[_Task]) -> None:
    """Cancels what is left, and waits until it has left the queue: the runs save meanwhile."""
    jobs = sorted({task.job for task in tasks})
    if not jobs:
        return
    with contextlib.suppress(UserError):
        _call("scancel", "--full", "--signal=TERM", *jobs)
        _call("scancel", *jobs)
    patience = time.monotonic() + 60
    while time.monotonic() < patience and _queue(tasks):
        time.sleep(min(1.0, math.ceil(len(jobs) / 100)))


def _call(program: str, *words: str) -> str:
    """What a program of Slurm prints. Raises UserError with what it says of an error."""
    ended = subprocess.run(
        [program, *words], capture_output=True, text=True, check=False, env=os.environ
    )
    if ended.returncode:
        said = " ".join(ended.stderr.split()) or f"exit code {ended.returncode}"
        raise UserError(f"--executor=slurm: {program}: {said}")
    return ended.stdout


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


EXECUTOR = Executor(Config, make)
