"""lm-lab forecasts: how many registered forecasts of held-out runs held, counted over studies.

  lm-lab forecasts runs
  lm-lab forecasts runs/isoflop runs/wide

Each argument is the directory of a sweep, or a folder of such directories. A launch registers a
forecast in sweep.json before the held-out runs begin; a sweep without one is not counted.
"""

from lm_lab import report
from lm_lab.cli import arguments
from lm_lab.report import forecasts, formatting
from lm_lab.runs.sweep import sweeps_below
from lm_lab.types import UserError


def run(argv: list[str]) -> int:
    """Prints a line a forecast, and how many held. Raises UserError."""
    if not argv or any(word.startswith("-") for word in argv):
        raise UserError("name sweep directories, or folders of them, as in: lm-lab forecasts runs")
    judged = []
    for word in argv:
        place = arguments.path(word)
        sweeps = sweeps_below(place)
        if not sweeps:
            raise UserError(f"{place}: no sweep.json here, nor in a folder right below")
        judged += [
            (str(sweep), forecast) for sweep in sweeps for forecast in report.registered(sweep)
        ]
    if not judged:
        print("no forecast is registered there")
        return 0
    print("\n".join(formatting.aligned([list(forecasts.HEADER), *forecasts.lines(judged)])))
    print(forecasts.coverage([sweep for _, sweep in judged]))
    return 0
