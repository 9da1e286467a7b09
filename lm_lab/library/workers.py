"""The workers of a launch: lm-lab in a process of its own, with the packages it needs, and the runs
that it trains. Nothing that draws figures or fits laws is imported here: that would take a second
of every worker.
"""

import importlib.util
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from lm_lab import config as configs
from lm_lab.runs.sweep import read_sweep, run_directory
from lm_lab.schema import suggest
from lm_lab.train import trust
from lm_lab.train.run import Run
from lm_lab.types import UserError


def worker_command(trusted: Collection[str], *words: str) -> list[str]:
    """The command of a worker, which finds the trusted packages where this process does.

    By -P, other files of the current folder cannot be imported.
    """
    name, *arguments = words
    flag = f"--trust={','.join(sorted(trusted))}"
    worker = [sys.executable, "-P", "-m", "lm_lab", name, flag, *arguments]
    folders = [folder for package in sorted(trusted) if (folder := _folder_of(package))]
    if not folders:
        return worker
    paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
    return ["env", f"PYTHONPATH={os.pathsep.join(dict.fromkeys(paths))}", *worker]


def planned_runs(directory: Path, names: Sequence[str]) -> list[Run]:
    """Runs of a sweep, by name, to be trained. Raises UserError for one that it does not have, or
    whose config names code that is not trusted.
    """
    planned = {run.name: run for run in read_sweep(directory).runs}
    runs = []
    for name in names:
        if name not in planned:
            raise UserError(f"{directory} has no run {name}; {suggest(name, list(planned))}")
        trust.check(planned[name].config, directory / "sweep.json")
        config = configs.wrap(planned[name].config)
        experiment, resolved = configs.resolve(config, stored=True)
        runs.append(Run(experiment, resolved, run_directory(directory, name)))
    return runs


def _folder_of(package: str) -> str | None:
    """The folder in which this process finds a package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).absolute()
    return str(file.parents[1] if spec.submodule_search_locations else file.parent)
