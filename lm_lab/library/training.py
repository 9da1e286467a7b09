"""Runs trained in Python, in this process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_lab import config as configs
from lm_lab.library import devices
from lm_lab.library.configs import Source, load_config
from lm_lab.library.runs import Run, open_run
from lm_lab.train import run as runs
from lm_lab.train.loop import train
from lm_lab.train.preemption import Preempted
from lm_lab.train.trust import packages


def train_run(
    source: Source, directory: str | Path, changes: Mapping[str, Any] | None = None
) -> Run:
    """Trains one run to its end and opens it; a run that has begun goes on, a run that has ended is
    only opened. `source` and `changes` are as those of `load_config`.

    A diverged run is returned too, and its result says so. Interrupting the notebook (or Ctrl-C)
    saves the run and raises KeyboardInterrupt: the same call goes on from there. Raises UserError
    for a config that is wrong, or a directory that holds another run.

    >>> run = lm_lab.train_run(tiny, "runs/tiny", {"train.steps": 20})
    >>> run.result["steps"]
    20
    """
    place = Path(directory).expanduser()
    experiment, resolved = configs.resolve(load_config(source, changes))
    try:
        train_together([runs.Run(experiment, resolved, place)], keeps_process=True)
    except Preempted:
        raise KeyboardInterrupt(f"{place}: saved; the same call goes on from there") from None
    return open_run(
        place, trust=packages(resolved)
    )  # the caller gave the config, so its packages are trusted


def train_together(
    planned: Sequence[runs.Run], *, keeps_process: bool = False
) -> list[dict[str, Any]]:
    """The results of runs of one program, trained in this process. Raises as train.loop.train."""
    devices.start(planned[0].experiment.mesh)
    with devices.memory():
        return train(planned, keeps_process=keeps_process)
