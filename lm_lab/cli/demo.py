"""lm-lab demo: run the demo study, which lm_lab brings, and print where its report is.

  lm-lab demo --quick                 # nine small runs, 2 CPU-minutes: what a study gives
  lm-lab demo                         # 64 runs, some minutes on a laptop: an answer

  --quick                     the study experiments/isoflop_demo:quick, too small for an answer
  --workdir=DIR               default: runs/isoflop_demo, with --quick runs/isoflop_quick
  --workers=N                 processes at a time, which share the cores; default: as many as end
                              the sweep first, or one on an accelerator

Small decoders learn the source of the Python standard library; a scaling law is fitted to them.
Without --quick, what it predicts of a larger budget is registered before the runs of that budget
begin. Given again, the command runs what is missing, or finishes at once from what is stored.
"""

from absl import flags

from lm_lab.cli import arguments, sweep
from lm_lab.types import UserError

STUDY = "experiments/isoflop_demo"
FLAGS = flags.FlagValues()
QUICK = flags.DEFINE_bool("quick", False, "few and small runs", flag_values=FLAGS)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "the sweep's directory", allow_overwrite=False, flag_values=FLAGS
)
WORKERS = flags.DEFINE_integer("workers", None, "runs at a time", lower_bound=1, flag_values=FLAGS)


def run(argv: list[str]) -> int:
    """Returns the exit code of the sweep. Raises UserError."""
    if extra := arguments.parse(FLAGS, argv, "demo"):
        raise UserError(f"unexpected argument {extra[0]!r}; see lm-lab demo --help")
    study, directory = (
        (f"{STUDY}:quick", "runs/isoflop_quick") if QUICK.value else (STUDY, "runs/isoflop_demo")
    )
    workers = [] if WORKERS.value is None else [f"--workers={WORKERS.value}"]
    return sweep.run([study, f"--workdir={WORKDIR.value or directory}", *workers])
