"""lm-lab members SWEEP RUN... [--trust=PACKAGE,...]: what a sweep's workers run: finish runs of one program, together.

The launcher passes on the packages that its study names.
"""

from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.cli.train import train_all
from lm_lab.schema import suggest
from lm_lab.sweeps import store
from lm_lab.train import trust
from lm_lab.train.member import Run
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
TRUST = arguments.define_trust(FLAGS)


def run(argv: list[str]) -> int:
    """The exit code: 1 where a run diverged. Raises UserError."""
    words = arguments.parse(FLAGS, argv, "members")
    if len(words) < 2:
        raise UserError("name a sweep directory and at least one of its runs")
    directory, names = arguments.path(words[0]), words[1:]
    planned = {each.name: each for each in store.planned_runs(store.read(directory))}
    if unknown := [name for name in names if name not in planned]:
        raise UserError(f"{directory} has no run {unknown[0]}; {suggest(unknown[0], list(planned))}")
    runs = []
    for name in names:
        trust.check(planned[name].config, TRUST.value or (), directory / "sweep.json")
        experiment, resolved = configs.resolve(configs.override(configs.ConfigDict(), planned[name].config))
        runs.append(Run(experiment, resolved, store.run_directory(directory, name), TRUST.value or ()))
    return train_all(runs)
