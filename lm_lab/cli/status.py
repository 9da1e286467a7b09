"""lm-lab status: how far a sweep is, from any terminal or machine that sees its folder.

  lm-lab status runs/isoflop
  lm-lab status runs/isoflop --watch
  lm-lab status runs/isoflop --page=status.html

  DIR                         the directory of a sweep, under way or not
  --watch                     show it again every few seconds, until every run has ended
  --page=FILE                 keep one HTML file as it stands, which refreshes itself in a browser,
                              until every run has ended
  --every=SECONDS             between two looks; default 5

Reads the folder and changes nothing in it. The time left is what is unpaid at the pace of the runs
under way, whose start is not taken out.
"""

import sys
import time

from absl import flags

from lm_lab.cli import arguments
from lm_lab.cli.wrapping import wrapped
from lm_lab.library import watching
from lm_lab.runs.durable import atomic_write
from lm_lab.sweeps.overview import overview
from lm_lab.types import UserError

FLAGS = flags.FlagValues()
WATCH = flags.DEFINE_bool("watch", False, "until it is over", flag_values=FLAGS)
PAGE = flags.DEFINE_string("page", None, "an HTML file", flag_values=FLAGS)
EVERY = flags.DEFINE_float(
    "every", 5.0, "seconds", lower_bound=0.1, upper_bound=3600.0, flag_values=FLAGS
)
CLEAR = "\x1b[H\x1b[J"  # moves to the top left of a terminal, and clears what is below


def run(argv: list[str]) -> int:
    """Shows the sweep once, or until it is over. Raises UserError."""
    paths = arguments.parse(FLAGS, argv, "status")
    if len(paths) != 1:
        raise UserError("name one sweep directory, as in: lm-lab status runs/isoflop")
    directory = arguments.path(paths[0])
    page = None if PAGE.value is None else arguments.path(PAGE.value, "--page=")
    if page is not None and not page.parent.is_dir():
        raise UserError(f"--page={page}: there is no folder {page.parent}; make it")
    shown = ""
    while True:
        state = overview(directory)
        text = wrapped(watching.lines(state))
        if text != shown and (WATCH.value or not shown):
            print(f"{CLEAR if sys.stdout.isatty() and WATCH.value else ''}{text}", flush=True)
            shown = text
        if page is not None:
            atomic_write(page, watching.page(state, None if state.is_over else EVERY.value))
        if state.is_over or not (WATCH.value or page is not None):
            return 0
        time.sleep(EVERY.value)
