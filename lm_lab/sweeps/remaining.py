"""How long the runs of a launch will take yet, from the seconds of those that have run."""

import heapq
import time
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
        self._last, self._starting, self._training = now(), 0.0, 0.0

    def left(self, phases: Phases) -> float | None:
        """Seconds until all runs have ended; None before any has got on."""
        self._count(phases)
        units = [unit for phase in phases for unit in phase]
        expected = seconds_by_cost([run for unit in units for run in unit])
        known = sum(
            run.seconds or expected(run.cost) * (run.paid - run.before)
            for unit in units
            for run in unit
            if run.paid > run.before
        )
        if not known or not self._training:
            return None
        start = self._starting / sum(map(_gets_on, units))
        # Evaluation and saving are not in a run's seconds; they take what they took so far.
        pace = self._training / known

        def seconds(unit: Unit) -> float:
            training = pace * sum(expected(run.cost) * (1 - run.paid) for run in unit)
            return training + (0.0 if _gets_on(unit) else start)

        return sum(_makespan([*map(seconds, phase)], self._workers) for phase in phases)

    def _count(self, phases: Phases) -> None:
        now = self._now()
        passed, self._last = now - self._last, now
        waiting = ([unit for unit in phase if _unfinished(unit)] for phase in phases)
        current = next(filter(None, waiting), [])[: self._workers]
        training = sum(map(_gets_on, current))
        self._training += passed * training
        self._starting += passed * (len(current) - training)


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


def _unfinished(unit: Unit) -> bool:
    return any(run.paid < 1 for run in unit)
