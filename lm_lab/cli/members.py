"""lm-lab members SWEEP RUN...: trains runs of one program together; sweeps start it as workers."""

from lm_lab.cli import arguments
from lm_lab.cli.train import on_devices, show
from lm_lab.library.workers import planned_runs
from lm_lab.train.loop import train
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """Returns the exit code: 1 if a run diverged. Raises UserError."""
    if len(argv) < 2:
        raise UserError("name a sweep directory and at least one of its runs")
    runs = planned_runs(arguments.path(argv[0]), argv[1:])
    with on_devices(runs):
        results = train(runs)
    return show(runs, results)
