"""lm-lab report: write a study's figures and report again, from its stored results alone.

  lm-lab report runs/isoflop

The argument is the directory of a sweep, which may be under way: the report is of the runs that
have ended.
"""

from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.sweeps.launch import refresh
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """Writes the report and says where. Raises UserError."""
    if len(argv) != 1 or argv[0].startswith("-"):
        raise UserError("name one sweep directory, as in: lm-lab report runs/isoflop")
    directory = arguments.path(argv[0])
    refresh(directory)
    print(f"report: {report.write(directory)}")
    return 0
