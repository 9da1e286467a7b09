"""lm-lab members SWEEP RUN...: what a sweep's workers run: finish runs of one program, trained together."""

from pathlib import Path

from lm_lab import config as configs
from lm_lab.cli.train import train_all
from lm_lab.sweeps import store
from lm_lab.train.member import Run


def run(argv: list[str]) -> int:
    """The exit code: 1 where a run diverged. Raises UserError."""
    directory, names = Path(argv[0]), argv[1:]
    planned = {each.name: each for each in store.planned_runs(store.read(directory))}
    runs = []
    for name in names:
        experiment, resolved = configs.resolve(configs.override(configs.ConfigDict(), planned[name].config))
        runs.append(Run(experiment, resolved, store.run_directory(directory, name)))
    return train_all(runs)
