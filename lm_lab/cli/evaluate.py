"""lm-lab evaluate: evaluate a run again from its newest checkpoint, and measure what it writes.

  lm-lab evaluate --workdir=runs/scan_simple

  --workdir=DIR               the run's directory

What is found replaces what its result.json says, if the run has ended.
"""

import json
from pathlib import Path

from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments, devices
from lm_lab.train.again import evaluate
from lm_lab.train.member import Run
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string("workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Prints the evaluations. Raises UserError."""
    if extra := arguments.parse(FLAGS, argv, "evaluate"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab evaluate --help")
    stored = load(arguments.folder(WORKDIR.value, "runs/a"))
    devices.start(stored.experiment.mesh)
    with devices.memory():
        step, found = evaluate(stored)
    print(f"{stored.directory}: step {step}; " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    return 0


def load(directory: Path) -> Run:
    """The run of a directory, by its config.json. Raises UserError where there is none."""
    file = directory / "config.json"
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: no config of a run ({error}); name the directory of one") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: no config of a run; name the directory of one")
    return Run(*configs.resolve(configs.override(configs.ConfigDict(), values)), directory)
