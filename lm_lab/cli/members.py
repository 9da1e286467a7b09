"""lm-lab members SWEEP RUN...: trains runs of one program together; sweeps start it as workers."""

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.cli.train import train_all
from lm_lab.schema import suggest
from lm_lab.sweeps import store
from lm_lab.train import trust
from lm_lab.train.run import Run
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """Returns the exit code: 1 if a run diverged. Raises UserError."""
    if len(argv) < 2:
        raise UserError("name a sweep directory and at least one of its runs")
    directory, names = arguments.path(argv[0]), argv[1:]
    planned = {each.name: each for each in store.planned_runs(store.read(directory))}
    if unknown := [name for name in names if name not in planned]:
        raise UserError(
            f"{directory} has no run {unknown[0]}; {suggest(unknown[0], list(planned))}"
        )
    runs = []
    for name in names:
        trust.check(planned[name].config, directory / "sweep.json")
        config = configs.override(configs.ConfigDict(), planned[name].config)
        experiment, resolved = configs.resolve(config, stored=True)
        runs.append(Run(experiment, resolved, store.run_directory(directory, name)))
    return train_all(runs)
