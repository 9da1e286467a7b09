"""How long the runs of a launch will take yet, from the seconds of those that have run."""

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

SPREAD = 1.5  # costs within this factor do not tell what a run takes beside its cost


class Part(NamedTuple):
    """A run of a launch: what it costs (groups.cost), and which shares of that were paid before the
    launch and are paid by now. `seconds` of its training, once it is complete.
    """

    cost: float
    before: float
    paid: float
    seconds: float | None


Unit = Sequence[Part]
"""Runs that one process trains together."""
Phases = Sequence[Sequence[Unit]]
"""Phases that follow one another, of units in the order in which they start."""


class Clock:
    """Tells the time left. It counts the seconds for which workers were busy, apart for units that
    start up and compile and for those that get on: near the end, and before each phase, some
    workers have nothing to do.
    """

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._workers, self._now = workers, now
        self._last, self._training = now(), 0.0
        self._starting: dict[tuple[int, int], float] = defaultdict(float)  # by the place of a unit

    def left(self, phases: Phases) -> float | None:
        """Seconds until all runs have ended; None before any has got on."""
        self._count(phases)
        runs = [run for phase in phases for unit in phase for run in unit]
        expected = seconds_by_cost(runs)
        known = sum(
            run.seconds or expected(run.cost) * (run.paid - run.before)
            for run in runs
            if run.paid > run.before
        )
        if not known or not self._training:
            return None
        # Evaluation and saving are not in a run's seconds; they take what they took so far.
        pace = self._training / known
        start = self._start(phases)

        def seconds(place: tuple[int, int], unit: Unit) -> float:
            training = pace * sum(expected(run.cost) * (1 - run.paid) for run in unit)
            waits = 0.0 if _gets_on(unit) else max(0.0, start - self._starting[place])
            return training + waits

        return sum(
            _makespan([seconds((i, j), unit) for j, unit in enumerate(phase)], self._workers)
            for i, phase in enumerate(phases)
        )

    def _count(self, phases: Phases) -> None:
        now = self._now()
        passed, self._last = now - self._last, now
        for place in _current(phases)[: self._workers]:
            if _gets_on(phases[place[0]][place[1]]):
                self._training += passed
            else:
                self._starting[place] += passed

    def _start(self, phases: Phases) -> float:
        """The seconds in which a unit got on, in the mean over those that have."""
        took = [
            self._starting[i, j]
            for i, phase in enumerate(phases)
            for j, unit in enumerate(phase)
            if _gets_on(unit)
        ]
        return sum(took) / len(took)


def _current(phases: Phases) -> list[tuple[int, int]]:
    """The places of the units of the first phase that has not ended, without those that have."""
    for i, phase in enumerate(phases):
        if left := [(i, j) for j, unit in enumerate(phase) if any(run.paid < 1 for run in unit)]:
            return left
    return []


def _makespan(units: Sequence[float], workers: int) -> float:
    """Seconds until units of so many seconds have ended, each given to the worker that is free
    first.
    """
    free = [0.0] * workers
    for seconds in units:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def seconds_by_cost(runs: Sequence[Part]) -> Callable[[float], float]:
    """The seconds of a run by its cost: a share that every run takes, and a rate, by least squares
    in ratios over the complete ones. Where these tell no more, in proportion to the cost.
    """
    known = np.array([(run.cost, run.seconds) for run in runs if run.seconds]).reshape(-1, 2)
    if not len(known):
        return lambda cost: cost
    costs, seconds = known.T
    rate, fixed = float(np.mean(seconds / costs)), 0.0
    if costs.max() > SPREAD * costs.min():
        # Scaled, for costs are FLOPs.
        terms = np.stack([1 / seconds, costs / costs.max() / seconds], -1)
        (fixed, scaled), _ = nnls(terms, np.ones(len(known)))
        rate = scaled / costs.max()
    return lambda cost: fixed + rate * cost


def _gets_on(unit: Unit) -> bool:
    return any(run.paid > run.before for run in unit)
