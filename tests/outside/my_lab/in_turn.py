"""An executor: a queue that takes one unit after the other."""

import subprocess
from dataclasses import dataclass

from lm_lab.contracts import Executor, Outcome
from lm_lab.schema import setting


@dataclass(frozen=True)
class Config:
    """The settings of the executor."""

    queue: str = setting("name of the queue, for its logs", "default")


class Queue:
    """Runs units one at a time."""

    workers = 1

    def __init__(self, name):
        self.name = name

    def run(self, units):
        """The outcome of each unit as it ends."""
        for unit in units:
            unit.log.parent.mkdir(parents=True, exist_ok=True)
            with unit.log.open("ab") as log:
                log.write(f"queue {self.name}\n".encode())
                log.flush()
                code = subprocess.run(unit.command, stdout=log, stderr=log, check=False).returncode
            yield Outcome(unit, code, f"exit code {code}")


def make(config, platform):
    """The queue."""
    return Queue(config.queue)


EXECUTOR = Executor(Config, make)
