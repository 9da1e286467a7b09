"""Studies in Python: launched, and read as tables and figures."""

import traceback
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lm_lab import report
from lm_lab.contracts import Outcome, Unit
from lm_lab.library.counting import Counter, count_apart, count_here
from lm_lab.library.designs import cautions_of, resolver
from lm_lab.library.runs import Run, open_run
from lm_lab.library.training import train_together
from lm_lab.library.workers import planned_runs, worker_command
from lm_lab.report.contract import Analysis
from lm_lab.runs.durable import atomic_write
from lm_lab.runs.records import environment
from lm_lab.runs.sweep import Row, SweepRecord, read_sweep, run_directory
from lm_lab.runs.trust import RUNNING, packages_of, trusted_packages, trusting
from lm_lab.schema import suggest
from lm_lab.sweeps import executors, results
from lm_lab.sweeps.executors import MakeRunner
from lm_lab.sweeps.forecasts import Forecasting
from lm_lab.sweeps.launch import Summary, launch, refresh
from lm_lab.sweeps.study import Study
from lm_lab.train.preemption import Preempted
from lm_lab.types import UserError

HERE = "here"  # the name of the executor that trains in this process


@dataclass(frozen=True)
class Sweep:
    """A sweep's directory. Its files are read at each use, so that it can be watched while runs go
    on.

    >>> sweep = lm_lab.open_sweep("runs/rates")
    >>> [(row["optimizer.peak_rate"], row["status"]) for row in sweep.rows]
    [(0.01, 'complete'), (0.02, 'complete')]
    >>> sweep.run(sweep.rows[0]["name"]).config.optimizer.peak_rate
    0.01
    """

    directory: Path
    trust: tuple[str, ...] = ()  # packages whose code it may name

    @property
    def study(self) -> SweepRecord:
        """sweep.json: name, question, analysis, the runs with their configs, environment."""
        return read_sweep(self.directory)

    @property
    def rows(self) -> list[Row]:
        """One row for each run, in the order of the sweep: name, status, what the sweep varies,
        params (N), tokens (D), flops (C), loss, bits_per_byte, seconds, ...; None for what is not
        known yet. pandas.DataFrame(sweep.rows) is a table, and `fit` takes the rows.
        """
        return results.collect(self.directory)

    def run(self, name: str) -> Run:
        """The run of a row, by its "name"."""
        names = list(results.status(self.directory))
        if name not in names:
            raise UserError(f"{self.directory} has no run {name!r}; {suggest(name, names)}")
        return open_run(run_directory(self.directory, name), trust=self.trust)

    def figures(self) -> dict[str, Figure]:
        """The figures of the study's report, by name. Raises UserError where no run is complete."""
        with trusting(self.trust):
            refresh(self.directory)
            return report.figures(self.directory)

    def report(self) -> Path:
        """Writes report.html with its figures; the path."""
        with trusting(self.trust):
            refresh(self.directory)
            return report.write(self.directory)


def open_sweep(directory: str | Path, *, trust: Iterable[str] = ()) -> Sweep:
    """The sweep of a directory; `trust` is as that of `open_run`. Raises UserError where there is
    none.

    >>> lm_lab.open_sweep("runs/rates").study.question
    'Which peak rate is best?'
    """
    sweep = Sweep(Path(directory).expanduser(), tuple(trust))
    _ = sweep.study  # read here, so that its errors are raised by this call
    return sweep


def run_study(
    study: Study, directory: str | Path, executor: str = "local", **settings: Any
) -> Sweep:
    """Runs what the directory is missing of a study, and opens it; its `rows` say how each ended.

    `executor` says where the runs are computed (a file of lm_lab/sweeps/executors, or a dotted
    path), with its own settings: workers=2 are two processes at a time, which import the packages
    that the configs name from where this process does. "here" trains in this process, where also
    what a notebook defines is found. Launching again finishes what is missing or failed and redoes
    nothing. Raises UserError, before anything is run,
    for a point that is wrong or a directory of another study.

    >>> from lm_lab.sweeps.algebra import param
    >>> study = lm_lab.Study(
    ...     name="rates",
    ...     question="Which peak rate is best?",
    ...     base=lm_lab.load_config(tiny),
    ...     sweep=param("optimizer.peak_rate", [0.01, 0.02]),
    ...     analysis={"kind": "isoflop"},
    ... )
    >>> sweep = lm_lab.run_study(study, "runs/rates", executor="here")
    >>> [row["status"] for row in sweep.rows]
    ['complete', 'complete']
    """
    place = Path(directory).expanduser()
    runner = None if executor == HERE else executors.choose(executor, settings)
    _, trusted = launch_study(study, place, runner)
    return open_sweep(place, trust=trusted)


def launch_study(
    study: Study, directory: Path, make_runner: MakeRunner | None, is_advised: bool = False
) -> tuple[Summary, set[str]]:
    """(how a launch ended, the outside packages that its runs name); without `make_runner` this
    process trains them. `is_advised`: the launch prints weaknesses of the design before the first
    run. Raises UserError.
    """
    analysis, settings = report.read_analysis(study.analysis, f"study {study.name!r}")
    # the user launched the study, so its packages are trusted
    trusted = trusted_packages() | packages_of([study.analysis["kind"]])

    resolve = resolver(study, trusted)

    def review(rows: list[Row]) -> None:
        if make_runner is not None and RUNNING in trusted:
            raise UserError(
                f"study {study.name!r} names what this program or notebook defines (__main__), and "
                f"worker processes do not have it; give executor={HERE!r}, or write it into a "
                "module"
            )
        analysis.check(settings, rows)

    count = Counter(count_here if make_runner is None else partial(count_apart, trusted))
    begin = partial(
        launch,
        study,
        directory,
        resolve,
        partial(_command, trusted),
        review=review,
        forecasting=_forecasting(analysis, settings, count),
        advise=partial(cautions_of, analysis, settings, count) if is_advised else None,
    )
    if make_runner is not None:
        return begin(make_runner), trusted
    here = ThisProcess(directory, trusted)
    return begin(lambda *_: here, environment=environment), trusted


@dataclass(frozen=True)
class ThisProcess:
    """Trains the runs of a sweep in this process, those of one program together."""

    directory: Path
    trusted: Collection[str]
    workers: int = 1

    def run(self, units: Sequence[Unit]) -> Generator[Outcome, None, None]:
        for unit in units:
            try:
                with trusting(self.trusted):
                    train_together(planned_runs(self.directory, unit.names), keeps_process=True)
            except Preempted as stop:
                raise KeyboardInterrupt(str(stop)) from None
            except Exception as error:  # noqa: BLE001 - a run that fails does not stop the others
                atomic_write(unit.log, traceback.format_exc())
                yield Outcome(unit, 1, f"{type(error).__name__}: {error}")
            else:
                yield Outcome(unit, 0, "")


def _command(trusted: Collection[str], directory: Path, names: Sequence[str]) -> list[str]:
    return worker_command(trusted, "members", str(directory), *names)


def _forecasting(analysis: Analysis[Any, Any], settings: Any, count: Counter) -> Forecasting | None:
    """The functions by which the launch registers forecasts; None if the analysis makes none."""
    forecaster = analysis.forecaster
    if forecaster is None:
        return None
    return Forecasting(
        held_out=partial(forecaster.held_out, settings),
        forecast=lambda fitted, held: forecaster.forecast(fitted, held, settings),
        sizes=count,
    )
