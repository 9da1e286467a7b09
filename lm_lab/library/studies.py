"""Studies in Python: launched, and read back as tables and figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lm_lab import report
from lm_lab.library.runs import Run, open_run
from lm_lab.schema import suggest
from lm_lab.sweeps import results, store
from lm_lab.types import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A sweep's directory; what it holds is read when it is asked for, also while runs go on.

    >>> sweep = lm_lab.open_sweep("runs/depths")
    >>> [(row["model.depth"], row["status"]) for row in sweep.rows]
    [(1, 'complete'), (2, 'complete')]
    """

    directory: Path

    @property
    def study(self) -> Mapping[str, Any]:
        """sweep.json: name, question, analysis, the runs with their configs, environment."""
        return store.read(self.directory)

    @property
    def rows(self) -> list[Row]:
        """A row a run, in the order of the sweep: name, status, what the sweep varies, params (N),
        tokens (D), flops (C), loss, bits_per_byte, seconds, ...; None for what is not known yet.
        pandas.DataFrame(sweep.rows) is a table, and `fit_law` takes the rows.
        """
        return results.collect(self.directory)

    def run(self, name: str) -> Run:
        """The run of a row, by its "name"."""
        names = list(results.status(self.directory))
        if name not in names:
            raise UserError(f"{self.directory} has no run {name!r}; {suggest(name, names)}")
        return open_run(store.run_directory(self.directory, name))

    def figures(self) -> dict[str, Figure]:
        """The figures of the study's report, by name. Raises UserError where no run is complete."""
        return report.figures(self.directory)

    def report(self) -> Path:
        """Writes report.html with its figures; the path."""
        return report.write(self.directory)


def open_sweep(directory: str | Path) -> Sweep:
    """The sweep of a directory. Raises UserError where there is none.

    >>> lm_lab.open_sweep("runs/depths").study["question"]
    'Is deeper better?'
    """
    sweep = Sweep(Path(directory).expanduser())
    _ = sweep.study  # read, so that what is wrong with it is said here
    return sweep
