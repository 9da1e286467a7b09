"""lm-lab members SWEEP RUN...: what a sweep's workers run: finish runs of one program, trained together."""

from lm_lab.cli import arguments
from lm_lab.cli.train import train_all
from lm_lab.library.studies import planned_runs
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """The exit code: 1 where a run diverged. Raises UserError."""
    if len(argv) < 2:
        raise UserError("name a sweep directory and at least one of its runs")
    return train_all(planned_runs(arguments.path(argv[0]), argv[1:]))
