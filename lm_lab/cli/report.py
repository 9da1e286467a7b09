"""lm-lab report: write a study's figures and report again, from its stored results alone.

  lm-lab report runs/isoflop

The argument is the directory of a sweep, which may be under way: the report is of the runs that
have ended. Its answer is printed, too.
"""

from pathlib import Path

from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.cli.wrapping import paragraph
from lm_lab.sweeps.launch import refresh
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """Writes the report, prints its answer and where it is. Raises UserError."""
    if len(argv) != 1 or argv[0].startswith("-"):
        raise UserError("name one sweep directory, as in: lm-lab report runs/isoflop")
    directory = arguments.path(argv[0])
    refresh(directory)
    print_report(report.write(directory))
    return 0


def print_report(page: Path) -> None:
    """Prints the answer of a written report, a paragraph a block, and the report's path."""
    for text in report.answer(page.parent):
        print(paragraph(text), end="\n\n")
    print(f"report: {page}", flush=True)
