"""lm-lab train: train one run, or resume it where it stopped.

  lm-lab train --config=configs/decoder_tiny.py --config.model.depth=4 --workdir=runs/a

  --config=FILE               a config file; set its keys with --config.section.key=value
  --workdir=DIR               the run's directory: config, metrics, checkpoints, result

A launch on several hosts starts one process (or one a GPU) on each, by the same command. Slurm,
Open MPI, TPU pods and GKE tell each which one it is; elsewhere all of these flags do:

  --coordinator=ADDRESS:PORT  of the first process, with a port that is free there
  --processes=N               in all; 1: this one alone, whatever a launcher says
  --process=I                 the number of this one, from 0

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
from lm_lab.library import cluster, devices
from lm_lab.runs import peers
from lm_lab.runs.config import hash_of
from lm_lab.train.loop import train
from lm_lab.train.preemption import Preempted, exit_code
from lm_lab.train.run import Run
from lm_lab.types import UserError

__doc__ = "\n".join([str(__doc__), "Keys, as KEY = DEFAULT:", "", *render(entries())])
IN_LINE = 4  # metrics that the last line shows; more have a line each
FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the run's directory", allow_overwrite=False, flag_values=FLAGS
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "ADDRESS:PORT of process 0", allow_overwrite=False, flag_values=FLAGS
)
PROCESSES = flags.DEFINE_integer(
    "processes", None, "how many in all", 1, allow_overwrite=False, flag_values=FLAGS
)
PROCESS = flags.DEFINE_integer(
    "process", None, "which of them this is", 0, allow_overwrite=False, flag_values=FLAGS
)


def run(argv: list[str]) -> int:
    """Returns the exit code, as listed by lm-lab --help. Raises UserError."""
    config, rest = arguments.take_config(argv)
    if extra := arguments.parse(FLAGS, rest, "train"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab train --help")
    directory = arguments.folder(WORKDIR.value, "runs/a")
    experiment, resolved = configs.resolve(config)
    runs = [Run(experiment, resolved, directory)]
    place = cluster.find(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    with cluster.joined(place, f"{hash_of(resolved)} {directory.absolute()}"), on_devices(runs):
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
        if peers.is_first():
            print(f"lm-lab: {stop}", file=sys.stderr)
        sys.exit(exit_code(stop.signal))


def show(runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> int:
    """Prints how each run ended; the exit code."""
    for each, result in zip(runs, results if peers.is_first() else ()):
        final = [f"{name} {value:.4f}" for name, value in result["final"].items() if "eval" in name]
        message = f": {result['message']}" if "message" in result else ""
        ended = f"{each.directory}: {result['status']} at step {result['steps']}{message}; "
        line = ended + (", ".join(final) or "no evaluation")
        print(line if len(final) <= IN_LINE else "\n  ".join([ended.rstrip("; "), *final]))
    return int(any(result["status"] not in ("complete", "pruned") for result in results))
