"""lm-lab sweep: run a study, or finish it where it stopped, and write its report.

  lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop

  STUDY                       a file of experiments/, with or without .py
  --workdir=DIR               where the runs, results.csv, the figures and report.html go
  --workers=N                 runs at a time; default: one a core, or one on an accelerator

Launching again runs what is missing or failed and redoes nothing. A run that fails does not stop the others.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lm_lab import config as configs
from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.sweeps import study as studies
from lm_lab.sweeps.launch import launch
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string("workdir", None, "the sweep's directory", flag_values=FLAGS)
WORKERS = flags.DEFINE_integer("workers", None, "runs at a time", lower_bound=1, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """The exit code: 1 where runs failed or are in use elsewhere. Raises UserError."""
    paths = arguments.parse(FLAGS, argv)
    if len(paths) != 1:
        raise UserError("name one study, as in: lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop")
    if WORKDIR.value is None:
        raise UserError("--workdir=DIR is missing, as in --workdir=runs/isoflop")
    study, directory = studies.load(paths[0]), Path(WORKDIR.value)
    report.read_analysis(study.analysis, f"study {study.name!r}")
    summary = launch(
        study,
        directory,
        lambda overrides: configs.resolve(configs.override(study.base, overrides))[1],
        _command,
        WORKERS.value,
    )
    page = directory / "report.html"
    if summary.started or not page.exists():
        page = report.write(directory)
    counts = ", ".join(f"{len(summary.having(state))} {state}" for state in ("complete", "diverged", "failed"))
    print(f"{len(summary.rows)} runs: {counts}\nreport: {page}")
    return 0 if summary.finished else 1


def _command(directory: Path, names: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "lm_lab", "members", str(directory), *names]
