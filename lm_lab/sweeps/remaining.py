"""Estimates the time left of a launch, from the seconds of the runs that have ended."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from lm_lab.sweeps.groups import makespan

# Costs within this factor of one another cannot tell a run's fixed seconds from those that grow
# with its cost.
SPREAD = 1.5


class Part(NamedTuple):
    """A run of a launch: its cost (groups.cost), the shares of it that were computed before the
    launch and by now, and the `seconds` of its training, once it is complete.
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
    """Estimates the time left. It adds up the seconds in which workers were busy, separately for
    units that start and compile and for units that train; idle workers, as before each phase and
    near the end, are left out.
    """

    def __init__(self, workers: int, now: Callable[[], float] = time.monotonic) -> None:
        self._workers, self._now = workers, now
        self._last, self._training = now(), 0.0
        self._starting: dict[tuple[int, int], float] = defaultdict(float)  # by the place of a unit

    def left(self, phases: Phases) -> float | None:
        """Seconds until all runs have ended; None before any has trained."""
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
        # Evaluation and saving are not in a run's seconds; their share is assumed to stay as it was
        # so far.
        pace = self._training / known
        start = self._start(phases)

        def seconds(place: tuple[int, int], unit: Unit) -> float:
            training = pace * sum(expected(run.cost) * (1 - run.paid) for run in unit)
            waits = 0.0 if _gets_on(unit) else max(0.0, start - self._starting[place])
            return training + waits

        return sum(
            makespan([seconds((i, j), unit) for j, unit in enumerate(phase)], self._workers)
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
        """The mean seconds until a unit begins to train, over the units that have."""
        took = [
            self._starting[i, j]
            for i, phase in enumerate(phases)
            for j, unit in enumerate(phase)
            if _gets_on(unit)
        ]
        return sum(took) / len(took)


def _current(phases: Phases) -> list[tuple[int, int]]:
    """The places of the unfinished units in the first unfinished phase."""
    for i, phase in enumerate(phases):
        if left := [(i, j) for j, unit in enumerate(phase) if any(run.paid < 1 for run in unit)]:
            return left
    return []


def seconds_by_cost(runs: Sequence[Part]) -> Callable[[float], float]:
    """A function from the cost of a run to its seconds: a constant plus a rate times the cost,
    fitted to complete runs by least squares of ratios; in proportion to the cost where these are
    too few or too alike.
    """
    known = np.array([(run.cost, run.seconds) for run in runs if run.seconds]).reshape(-1, 2)
    if not len(known):
        return lambda cost: cost
    costs, seconds = known.T
    rate, fixed = float(np.mean(seconds / costs)), 0.0
    if costs.max() > SPREAD * costs.min():
        # Scaled, because costs in FLOPs are huge.
        terms = np.stack([1 / seconds, costs / costs.max() / seconds], -1)
        (fixed, scaled), _ = nnls(terms, np.ones(len(known)))
        rate = scaled / costs.max()
    return lambda cost: fixed + rate * cost


def _gets_on(unit: Unit) -> bool:
    return any(run.paid > run.before for run in unit)
