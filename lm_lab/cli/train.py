"""lm-lab train: train one run, or resume it where it stopped.

  lm-lab train --config=configs/decoder_tiny.py --config.model.depth=4 --workdir=runs/a

  --config=FILE               a config file; set its keys with --config.section.key=value
  --workdir=DIR               the run's directory: config, metrics, checkpoints, result

The same command resumes from the newest checkpoint. Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP save
first, a second one ends at once; kill -9 loses no checkpoint. lm-lab --help lists the exit codes.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from absl import flags

from lm_lab import config as configs
from lm_lab.cli import arguments
from lm_lab.cli.key_table import entries, render
from lm_lab.library import devices
from lm_lab.train.loop import train
from lm_lab.train.preemption import Preempted, exit_code
from lm_lab.train.run import Run
from lm_lab.types import UserError

__doc__ = "\n".join([str(__doc__), "Keys, as KEY = DEFAULT:", "", *render(entries())])
FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)


def run(argv: list[str]) -> int:
    """Returns the exit code, as listed by lm-lab --help. Raises UserError."""
    config, rest = arguments.take_config(argv)
    if extra := arguments.parse(FLAGS, rest, "train"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab train --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    experiment, resolved = configs.resolve(config)
    runs = [Run(experiment, resolved, directory)]
    with on_devices(runs):
        results = train(runs)
    return show(runs, results)


@contextmanager
def on_devices(runs: Sequence[Run]) -> Iterator[None]:
    """The block trains runs of one program: it ends the process with the exit code of a signal that
    stopped it.
    """
    devices.start(runs[0].experiment.mesh)
    try:
        with devices.memory():
            yield
    except Preempted as stop:
        print(f"lm-lab: {stop}", file=sys.stderr)
        sys.exit(exit_code(stop.signal))


def show(runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> int:
    """Prints how each run ended; the exit code."""
    for each, result in zip(runs, results):
        final = ", ".join(
            f"{name} {value:.4f}" for name, value in result["final"].items() if "eval" in name
        )
        message = f": {result['message']}" if "message" in result else ""
        print(
            f"{each.directory}: {result['status']} at step {result['steps']}{message}; "
            f"{final or 'no evaluation'}"
        )
    return int(any(result["status"] not in ("complete", "pruned") for result in results))
