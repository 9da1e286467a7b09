"""lm-lab sweep: run a study, or finish it where it stopped, and write its report.

  lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop

  STUDY                       a file of experiments/, with or without .py
  --workdir=DIR               where the runs, results.csv, the figures and report.html go
  --workers=N                 runs at a time; default: one a core, or one on an accelerator

Launching again runs what is missing or failed and redoes nothing. A run that fails does not stop the others.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from lm_lab import config as configs
from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.sweeps import study as studies
from lm_lab.sweeps.executor import core_count
from lm_lab.sweeps.launch import launch
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string("workdir", None, "the sweep's directory", flag_values=FLAGS)
WORKERS = flags.DEFINE_integer("workers", None, "runs at a time", lower_bound=1, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    paths = arguments.parse(FLAGS, argv)
    if len(paths) != 1:
        raise UserError("name one study, as in: lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop")
    if WORKDIR.value is None:
        raise UserError("--workdir=DIR is missing, as in --workdir=runs/isoflop")
    study, directory = studies.load(paths[0]), Path(WORKDIR.value)
    environment = _environment()
    workers = WORKERS.value or (core_count() if environment["devices"]["platform"] == "cpu" else 1)
    summary = launch(
        study,
        directory,
        lambda overrides: configs.resolve(configs.override(study.base, overrides))[1],
        _command,
        workers,
        environment,
    )
    page = directory / "report.html"
    if summary.started or not page.exists():
        page = report.write(directory)
    counts = ", ".join(f"{len(summary.having(state))} {state}" for state in ("complete", "diverged", "failed"))
    print(f"{len(summary.rows)} runs: {counts}\nreport: {page}")
    return 0 if summary.finished else 1


def _command(directory: Path, names: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "lm_lab", "members", str(directory), *names]


def _environment() -> dict[str, Any]:
    """Versions and devices, asked of another process: this one must leave an accelerator to the workers."""
    ask = "import json; from lm_lab.train.records import environment; print(json.dumps(environment()))"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"JAX finds no device to run on: {answer.stderr.strip().splitlines()[-1]}")
    environment = json.loads(answer.stdout.strip().splitlines()[-1])
    return {name: value for name, value in environment.items() if name != "command"}
