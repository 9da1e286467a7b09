"""lm-lab sweep: run a study, or finish it where it stopped, and write its report.

  lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop

  STUDY                       a file of experiments/, with or without .py
  --workdir=DIR               for the runs, results.csv, the figures and report.html
  --workers=N                 processes at a time, which share the cores; default: as many as end
                              the sweep first, or one on an accelerator
  --executor=NAME             what computes the runs: a file of lm_lab/sweeps/executors, or your
                              module by its dotted path; default: local, processes here
  --executor.KEY=VALUE        a setting of it; --workers=N is --executor.workers=N
  --dry-run                   print a line for each run (parameters, tokens, FLOPs, memory of its
                              state, time) and begin none; with
  --device=KIND               estimate the time on this kind of device; default: the local one
  --utilisation=SHARE         of the device's peak, for that estimate; default 0.4

The same command again runs what is missing or failed, and nothing else. A run that fails does not
stop the others. Runs that the analysis holds out begin when sweep.json has registered what the
others predict of them. Before the first run it says what is weak in the design; lm-lab plan tells
more.
"""

import sys
from functools import partial
from pathlib import Path

from absl import flags

from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.cli.report import print_report
from lm_lab.library.designs import describe_runs
from lm_lab.library.pace import check, pace
from lm_lab.library.studies import launch_study
from lm_lab.runs.trust import trusting
from lm_lab.sweeps import executors
from lm_lab.sweeps import study as studies
from lm_lab.types import UserError

PAGE = "report.html"
FLAGS = flags.FlagValues()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the sweep's directory", allow_overwrite=False, flag_values=FLAGS
)
DRY_RUN = flags.DEFINE_bool("dry-run", False, "begin no run", flag_values=FLAGS)
DEVICE = flags.DEFINE_string("device", None, "kind of device", flag_values=FLAGS)
SHARE = flags.DEFINE_float(
    "utilisation", 0.4, "of the peak", lower_bound=0.001, upper_bound=1.0, flag_values=FLAGS
)
WORKERS = flags.DEFINE_integer("workers", None, "runs at a time", lower_bound=1, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Returns the exit code: 1 if runs failed or are in use elsewhere. Raises UserError."""
    executor, values, others = arguments.take_executor(argv)
    paths = arguments.parse(FLAGS, others, "sweep")
    if len(paths) != 1:
        raise UserError(
            "name one study, as in: lm-lab sweep experiments/isoflop_demo --workdir=runs/isoflop"
        )
    if DRY_RUN.value:
        check(DEVICE.value, SHARE.value)
        pace_of = partial(pace, DEVICE.value, utilisation=SHARE.value)
        print("\n".join(describe_runs(studies.load(paths[0]), pace_of)))
        return 0
    directory = arguments.folder(WORKDIR.value, "runs/isoflop")
    if WORKERS.value is not None:
        values["workers"] = WORKERS.value
    make_runner = executors.choose(executor, values)
    study = studies.load(paths[0])
    summary, trusted = launch_study(study, directory, make_runner, is_advised=True)
    counts = ", ".join(
        f"{len(summary.having(state))} {state}" for state in ("complete", "diverged", "failed")
    )
    if pruned := summary.having("pruned"):
        counts += f", {len(pruned)} pruned"
    print(f"{len(summary.rows)} runs: {counts}", flush=True)
    if not summary.having("complete"):
        print(f"no report: no run is complete; {directory}/results.csv says why", file=sys.stderr)
        return 1
    page = directory / PAGE
    if summary.started or _outdated(directory):
        with trusting(trusted):
            page = report.write(directory)
    print_report(page)
    return 0 if summary.finished else 1


def _outdated(directory: Path) -> bool:
    """Whether the report is missing, or older than the results: after a launch that was killed
    before it wrote one.
    """
    page = directory / PAGE
    stored = [directory / "sweep.json", *directory.glob("runs/*/result.json")]
    return not page.exists() or page.stat().st_mtime < max(path.stat().st_mtime for path in stored)
