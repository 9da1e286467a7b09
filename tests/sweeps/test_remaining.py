"""The time left of a sweep, against simulated launches whose end is known."""

import heapq
import itertools

import pytest

from lm_lab.sweeps.remaining import Clock, Part, seconds_by_cost

FIXED, RATE = 6.0, 30e-12  # seconds of a run, of a FLOP
RUNS = 4  # of a unit, of one cost, which train in turn and end together


def seconds(cost):
    return FIXED + RATE * cost


def schedule(phases, workers, start):
    """(begin, end) of every unit, and the end of all."""
    now, spans = 0.0, []
    for units in phases:
        free = [now] * workers
        own = []
        for cost in units:
            begin = free[0]
            end = begin + start + RUNS * seconds(cost)
            heapq.heapreplace(free, end)
            own.append((begin, end))
        spans.append(own)
        now = max(free)
    return spans, now


def seen(cost, span, now, start):
    begin, end = span
    paid = min(1.0, max(0.0, (now - begin - start) / (end - begin - start)))
    return [Part(cost, 0.0, paid, seconds(cost) if now >= end else None)] * RUNS


LADDER = [8e11] * 3 + [2e11] * 5 + [7e10] * 5 + [2.5e10] * 5


@pytest.mark.parametrize(
    "phases", [[LADDER], [LADDER[3:], LADDER[:3]]], ids=["at once", "held out"]
)
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("start", [4.0, 40.0])
def test_the_time_left_is_right_in_the_last_half(phases, workers, start):
    spans, end = schedule(phases, workers, start)
    now = 0.0
    clock = Clock(workers, lambda: now)
    parts = [list(zip(units, own)) for units, own in zip(phases, spans)]
    for step in range(1, 501):
        now = end * step / 500
        left = clock.left([[seen(*unit, now, start) for unit in units] for units in parts])
        if step >= 250:
            assert left == pytest.approx(end - now, rel=0.2, abs=1), step


def test_nothing_is_known_before_a_run_gets_on():
    ticks = itertools.count()
    clock = Clock(2, lambda: float(next(ticks)))
    waiting, begun = Part(1e11, 0.0, 0.0, None), Part(1e11, 0.25, 0.25, None)
    assert clock.left([[[waiting], [begun]]]) is None
    # One second has paid a quarter of a run, half of which is left. What waits has been starting
    # for longer than the other took, and is about to take four.
    going = begun._replace(paid=0.5)
    assert clock.left([[[waiting], [going]]]) == pytest.approx(4)
    assert clock.left([[[waiting._replace(paid=1.0, seconds=3.0)]]]) == 0


def test_a_run_takes_a_fixed_share_and_a_rate_where_the_runs_tell_them_apart():
    ended = [Part(cost, 0, 1, seconds(cost)) for cost in (1e11, 8e11)]
    assert seconds_by_cost(ended)(3e11) == pytest.approx(seconds(3e11))
    assert seconds_by_cost(ended[:1])(2e11) == pytest.approx(2 * seconds(1e11))
