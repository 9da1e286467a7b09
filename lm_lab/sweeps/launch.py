"""A study and a directory -> finished runs and results.csv. Launching again finishes what is
missing.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

from lm_lab.contracts import Outcome, Unit, UnitRunner
from lm_lab.runs.config import read_config_file
from lm_lab.runs.durable import make_folder, prepare_workdir
from lm_lab.runs.locks import Lock
from lm_lab.runs.reading import Unreadable
from lm_lab.runs.records import write_result
from lm_lab.runs.status import FINISHED, result_of, run_status
from lm_lab.runs.sweep import Planned, Row, read_sweep, run_directory, write_table
from lm_lab.sweeps import forecasts, trunks
from lm_lab.sweeps.environment import worker_environment
from lm_lab.sweeps.executors import MakeRunner
from lm_lab.sweeps.forecasts import Forecasting
from lm_lab.sweeps.groups import by_program, cost, divide, unit_cost
from lm_lab.sweeps.progress import Counts, Progress
from lm_lab.sweeps.remaining import Clock
from lm_lab.sweeps.results import collect, rows_of
from lm_lab.sweeps.rounds import Pruning, Rounds, launch_rounds
from lm_lab.sweeps.store import (
    Resolve,
    adopt,
    check,
    describe,
    is_written,
    plan,
    write,
)
from lm_lab.sweeps.study import Study
from lm_lab.sweeps.tables import write_parquet
from lm_lab.sweeps.tally import Tally
from lm_lab.train import carried, identity
from lm_lab.train.preemption import Signals
from lm_lab.types import UserError

Command = Callable[[Path, Sequence[str]], Sequence[str]]
"""(sweep directory, names of runs of one program) -> the command that finishes those runs, or goes
on with them.
"""
Review = Callable[[list[Row]], None]
"""What is to raise UserError for runs, none of which has begun, that are no study."""
Advise = Callable[[Sequence[Planned]], Sequence[str]]
"""The planned runs -> what is weak in their design, a line each."""
Phase = Sequence[Sequence[Sequence[Planned]]]
"""Runs by their stage (trunks, then branches) and their program."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """A launch that has ended: the rows of all runs, and the names of those that it started."""

    rows: list[Row]
    started: list[str]

    def having(self, status: str) -> list[Row]:
        """The rows with a status: complete, diverged, failed, running (in use by another process)
        or missing.
        """
        return [row for row in self.rows if row["status"] == status]

    @property
    def finished(self) -> bool:
        """Whether another launch would find nothing to do."""
        return all(row["status"] in FINISHED for row in self.rows)


def launch(
    study: Study,
    directory: Path,
    resolve: Resolve,
    command: Command,
    make_runner: MakeRunner,
    review: Review | None = None,
    environment: Callable[[], Mapping[str, Any]] = worker_environment,
    stream: TextIO | None = None,
    forecasting: Forecasting | None = None,
    advise: Advise | None = None,
) -> Summary:
    """Runs what the study's directory is missing with the runner of `make_runner`.

    `environment` describes the workers' versions and devices. Shows its progress on the stream, by
    default stderr. Complete and diverged runs are kept, failed ones are retried. A run that fails
    does not stop the others. Before the first run `advise` prints weaknesses of the design; it
    never stops a launch. Held-out runs wait until `forecasting` has registered its prediction of
    them (sweeps/forecasts.py). Ctrl-C, SIGTERM and SIGHUP end the workers, write results.csv, and
    are passed to the caller as Stopped. Raises UserError, with nothing stored touched, for a bad
    point, what `review` refuses in the rows of all runs, a directory of another study, or one that
    another launch holds.
    """
    begin = partial(
        _launch,
        directory=directory,
        resolve=resolve,
        command=command,
        make_runner=make_runner,
        review=review,
        environment=cache(environment),
        out=stream or sys.stderr,
        forecasting=forecasting,
        advise=advise,
    )
    if study.search is None:
        return Summary(*begin(study, [], None))
    return Summary(*launch_rounds(study, study.search, directory, begin))


def _launch(
    study: Study,
    rounds: Rounds,
    pruning: Pruning | None,
    *,
    directory: Path,
    resolve: Resolve,
    command: Command,
    make_runner: MakeRunner,
    review: Review | None,
    environment: Callable[[], Mapping[str, Any]],
    out: TextIO,
    forecasting: Forecasting | None,
    advise: Advise | None,
) -> tuple[list[Row], list[str]]:
    """As `launch`, of a study whose sweep ends with the points of the rounds of its search."""
    planned = adopt(directory, plan(study, resolve))
    check(directory, study, planned)
    _check_runs(directory, planned)
    trunks.check_held(planned, forecasts.held_out(directory, planned, forecasting))
    if review:
        review(rows_of(planned, directory))
    prepare_workdir(directory)
    with Lock(directory / "lock") as lock, Signals("raise"):
        if is_written(directory, study, planned) and all(
            _finished(directory, run.name) for run in planned
        ):
            return _gather(directory), []
        found = environment()
        held = forecasts.held_out(directory, planned, forecasting)
        phases = _phases(planned, held)
        runner = make_runner(found["devices"]["platform"], partial(_costs, phases))
        write(directory, study, planned, found, rounds)
        if len(planned) < len(study.sweep):
            out.write(
                f"{len(study.sweep)} points are {len(planned)} different runs; equal ones run "
                "once\n"
            )
        if former := read_sweep(directory).former:
            out.write(f"{len(former)} runs that the study has no more stay, out of its results\n")
        if advise and not any(run_directory(directory, run.name).exists() for run in planned):
            out.write("".join(f"caution: {line}\n" for line in advise(planned)))
            out.flush()
        try:
            work = _Work(directory, command, runner, planned, held, phases, lock.confirm)
            with pruning or contextlib.nullcontext():
                started = work.finish(forecasting, out)
        finally:
            lock.confirm()
            rows = _gather(directory)
    return rows, started


def _phases(planned: Sequence[Planned], held: Sequence[Planned]) -> tuple[Phase, Phase]:
    """The fitted and the held-out runs. They are in separate units, even if the latter need not
    wait, so that an interrupted launch makes the same units again.
    """
    names = {run.name for run in held}
    fitted = [run for run in planned if run.name not in names]
    by_stage = (trunks.stages(runs, trunks.is_branch) for runs in (fitted, held))
    first, last = ([by_program(stage) for stage in stages] for stages in by_stage)
    return first, last


def _costs(phases: Sequence[Phase], workers: int) -> list[list[float]]:
    """The costs of all units, also of finished ones: a launch after an interruption gets the same
    workers, so that its runs end in the same bits.
    """
    stages = (stage for phase in phases for stage in phase)
    return [[unit_cost(unit) for unit in divide(stage, workers)] for stage in stages]


def _check_runs(directory: Path, planned: Sequence[Planned]) -> None:
    """Raises UserError where the folder of a run holds another run, as after a copy: else its
    results would be taken for those of this one.
    """
    for run in planned:
        folder = run_directory(directory, run.name)
        if (folder / "config.json").is_file():
            with contextlib.suppress(Unreadable):  # the run itself sets a damaged file aside
                found, _ = read_config_file(folder / "config.json")
                if found not in (run.name, identity.name_of(carried.relative(run.config))):
                    raise UserError(
                        f"{folder} holds the run {found}, not {run.name}; move it away, and "
                        "launch again"
                    )


def refresh(directory: Path) -> None:
    """Writes results.csv where runs have ended since it was written, or it is not there: also while
    the launch goes on. A table whose runs are gone stays as it is. Raises UserError.
    """
    table = directory / "results.csv"
    ended = [
        path.stat().st_mtime
        for run in read_sweep(directory).runs
        if (path := run_directory(directory, run.name) / "result.json").is_file()
    ]
    if ended and not (table.is_file() and table.stat().st_mtime >= max(ended)):
        _gather(directory)


def _gather(directory: Path) -> list[Row]:
    rows = collect(directory)
    write_table(directory, rows)
    write_parquet(directory, rows)
    return rows


@dataclasses.dataclass(frozen=True)
class _Work:
    """The units of a launch, and the runner that computes them."""

    directory: Path
    command: Command
    runner: UnitRunner
    planned: Sequence[Planned]
    held: Sequence[Planned]  # held-out runs, which may have to wait for their forecast
    phases: tuple[Phase, Phase]  # of the fitted runs, and of the held-out ones
    confirm: Callable[[], None]  # raises where another launch has taken the directory over

    def finish(self, forecasting: Forecasting | None, stream: TextIO) -> list[str]:
        """Runs the units that still have unfinished runs; the names of the runs that were
        started.
        """
        fitted, held = (self._units(phase) for phase in self.phases)
        names = [name for unit in (*fitted, *held) for name in unit.names]
        if not names:
            return []
        waits = forecasts.must_wait(self.directory, self.held, forecasting)
        costs = {run.name: cost(run.config) for run in self.planned}
        every = [*fitted, *held]
        every.sort(key=lambda unit: -sum(costs[name] for name in unit.names))
        phases = [fitted, held] if waits else [every]
        count = self._counter([stage for phase in phases for stage in self._stages(phase)])
        with Progress(count, stream) as progress:
            if forecasting is not None and waits:
                return self._forecast_between(fitted, held, forecasting, progress)
            return self._run(every, progress)

    def _counter(self, phases: Sequence[Sequence[Unit]]) -> Callable[[], Counts]:
        """A function that counts the runs of all phases by their directories."""
        runs = {run.name: run for run in self.planned}
        units = [[[runs[name] for name in unit.names] for unit in phase] for phase in phases]
        return Tally(self.directory, units, Clock(self.runner.workers))

    def _forecast_between(
        self,
        fitted: Sequence[Unit],
        held: Sequence[Unit],
        forecasting: Forecasting,
        progress: Progress,
    ) -> list[str]:
        """Runs the fitted units, registers the forecast, then runs the held-out units."""
        states = {run.name: run_status(self._place(run.name)) for run in self.planned}
        tried = {name for name, state in states.items() if state == "failed"}
        started = self._run(fitted, progress)
        self.confirm()
        why_not = forecasts.register(self.directory, self.planned, self.held, forecasting, tried)
        if why_not:
            progress.say(why_not)
            return started
        newest = read_sweep(self.directory).forecasts[-1]
        progress.say(f"forecast registered: {forecasts.describe(newest.forecast)}")
        return [*started, *self._run(held, progress)]

    def _run(self, units: Sequence[Unit], progress: Progress) -> list[str]:
        """Runs units, records what failed, and returns the names of their runs."""
        started = [name for unit in units for name in unit.names]
        overrides = {run.name: run.overrides for run in self.planned}
        for name in started:
            _forget_failure(self._place(name))
        in_order = [unit for stage in self._stages(units) for unit in stage]
        with contextlib.closing(self.runner.run(in_order)) as outcomes:
            for outcome in outcomes:
                self.confirm()
                for name, message in _record_failures(self.directory, outcome):
                    progress.say(f"run {name} ({describe(overrides[name])}): {message}")
                progress.show()
        return started

    def _stages(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """The units, those of branches after all others."""
        late = {run.name for run in self.planned if trunks.is_branch(run)}
        return trunks.stages(units, lambda unit: unit.names[0] in late)

    def _units(self, phase: Phase) -> list[Unit]:
        return [
            _unit(self.directory, left, self.command)
            for stage in phase
            for part in divide(stage, self.runner.workers)
            if (left := [run for run in part if not _finished(self.directory, run.name)])
        ]

    def _place(self, name: str) -> Path:
        return run_directory(self.directory, name)


def _unit(directory: Path, runs: Sequence[Planned], command: Command) -> Unit:
    names = [run.name for run in runs]
    log = run_directory(directory, names[0]) / "log.txt"
    after = [file for run in runs if (file := trunks.awaited(directory, run))]
    return Unit(tuple(names), tuple(command(directory, names)), log, tuple(after))


def _finished(directory: Path, name: str) -> bool:
    return result_of(run_directory(directory, name)).get("status") in FINISHED


def _forget_failure(directory: Path) -> None:
    """Removes the failure of a run that is tried again, so that a later failure is that of the new
    attempt.
    """
    if run_status(directory) == "failed":
        (directory / "result.json").unlink()


def _record_failures(directory: Path, outcome: Outcome) -> list[tuple[str, str]]:
    """Records the failure of the unit's runs that have no result of their own; (name, reason) of
    each.
    """
    wrong = []
    for name in outcome.unit.names:
        run = run_directory(directory, name)
        state = run_status(run)
        if state == "missing":
            make_folder(run)
            write_result(run, {"status": "failed", "message": outcome.message})
            state = "failed"
        if state == "running":
            wrong.append((name, "in use by another process; launch again when that has ended"))
        elif state not in ("complete", "pruned"):
            log = outcome.unit.log.relative_to(directory)
            wrong.append((name, f"{state}: {result_of(run).get('message')} (see {log})"))
    return wrong
