"""lm-lab evaluate: evaluate a run again from its newest checkpoint, and measure what it writes.

  lm-lab evaluate --workdir=runs/scan_simple

  --workdir=DIR               the run's directory

What is found replaces what its result.json says, if the run has ended.
"""

from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments, devices
from lm_lab.train import restore
from lm_lab.train.again import evaluate
from lm_lab.train.member import Run
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string("workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Prints the evaluations. Raises UserError."""
    if extra := arguments.parse(FLAGS, argv, "evaluate"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab evaluate --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    values = restore.read_run(directory)  # as it is stored: settings that came later are no other run
    stored = Run(configs.resolve(configs.ConfigDict(values), stored=True)[0], values, directory)
    devices.start(stored.experiment.mesh)
    with devices.memory():
        step, found = evaluate(stored)
    print(f"{stored.directory}: step {step}; " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    return 0
