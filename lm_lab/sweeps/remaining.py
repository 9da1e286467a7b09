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
    launch and are paid by now. `seconds` of its training and compiling, once it is complete.
    """

    cost: float
    before: float
    paid: float
    seconds: float | None


Phases = Sequence[Sequence[Sequence[Part]]]
"""Phases that follow one another, of units in the order in which they start, of runs."""


class Clock:
    """Tells the time left. It counts the seconds for which workers were busy: near the end, and
    before each phase, some have nothing to do.
    """

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._workers, self._now = workers, now
        self._last, self._busy = now(), 0.0

    def left(self, phases: Phases) -> float | None:
        """Seconds until all runs have ended; None before any has got on."""
        now = self._now()
        waiting = [sum(map(_unfinished, phase)) for phase in phases]
        current = next((units for units in waiting if units), 0)
        self._busy += (now - self._last) * min(self._workers, current)
        self._last = now
        runs = [run for phase in phases for unit in phase for run in unit]
        expected = seconds_by_cost(runs)
        known = sum(
            run.seconds or expected(run.cost) * (run.paid - run.before)
            for run in runs
            if run.paid > run.before
        )
        if not known or not self._busy:
            return None
        # Start-up and saving are not in a run's seconds; what one takes is as in those so far.
        return self._busy / known * sum(self._makespan(phase, expected) for phase in phases)

    def _makespan(self, units: Sequence[Sequence[Part]], expected: Callable) -> float:
        """Seconds until the units have ended, each given to the worker that is free first."""
        free = [0.0] * self._workers
        for unit in units:
            seconds = sum(expected(run.cost) * (1 - run.paid) for run in unit)
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


def _unfinished(unit: Sequence[Part]) -> bool:
    return any(run.paid < 1 for run in unit)
