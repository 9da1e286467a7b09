"""The runs of a stored sweep, to be trained: workers start with it, so it imports little."""

from collections.abc import Sequence
from pathlib import Path

from lm_lab import config as configs
from lm_lab.runs.sweep import read_sweep, run_directory
from lm_lab.schema import suggest
from lm_lab.train import trust
from lm_lab.train.run import Run
from lm_lab.types import UserError


def planned_runs(directory: Path, names: Sequence[str]) -> list[Run]:
    """Runs of a sweep, by name, to be trained. Raises UserError for one that it does not have, or
    whose config names code that is not trusted.
    """
    planned = {each.name: each for each in read_sweep(directory).runs}
    found = []
    for name in names:
        if name not in planned:
            raise UserError(f"{directory} has no run {name}; {suggest(name, list(planned))}")
        trust.check(planned[name].config, directory / "sweep.json")
        config = configs.wrap(planned[name].config)
        experiment, resolved = configs.resolve(config, stored=True)
        found.append(Run(experiment, resolved, run_directory(directory, name)))
    return found
