"""Units of one program: complete, alike, balanced, and the same at every launch."""

import numpy as np
import pytest

from lm_lab.sweeps.algebra import param, product
from lm_lab.sweeps.groups import (
    SPEED_BY_CORES,
    UNITS_PER_WORKER,
    best_workers,
    by_program,
    cost,
    divide,
    makespan,
    program,
)
from lm_lab.sweeps.store import plan
from tests.sweeps.fakes import resolve, study_of

SWEEP = product(
    param("train.budget_flops", [1e9, 1e10, 1e11]),
    param("model.width", [16, 32]),
    param("optimizer.peak_rate", [0.01, 0.02]),
    param("seed", [0, 1, 2]),
)
PLANNED = plan(study_of(SWEEP), resolve)
PROGRAMS = by_program(PLANNED)


@pytest.mark.parametrize("workers", [1, 2, 4, 64])
def test_every_run_is_in_one_unit_of_one_program(workers):
    units = divide(PROGRAMS, workers)
    names = [run.name for unit in units for run in unit]
    assert sorted(names) == sorted(run.name for run in PLANNED)
    assert all(len({program(run.config) for run in unit}) == 1 for unit in units)


def test_one_worker_gets_whole_populations():
    assert [len(unit) for unit in divide(PROGRAMS, workers=1)] == [6] * 6


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_several_workers_get_an_even_share_at_most(workers):
    units = divide(PROGRAMS, workers)
    share = sum(cost(run.config) for run in PLANNED) / (UNITS_PER_WORKER * workers)
    longest = max(cost(run.config) for run in PLANNED)
    assert all(sum(cost(run.config) for run in unit) <= max(2 * share, longest) for unit in units)
    assert len(units) >= workers


def test_long_units_come_first_and_units_are_stable():
    costs = [sum(cost(run.config) for run in unit) for unit in divide(PROGRAMS, workers=4)]
    assert costs == sorted(costs, reverse=True)
    assert divide(PROGRAMS, workers=4) == divide(by_program(list(PLANNED)), workers=4)


def test_runs_that_differ_in_traced_settings_share_a_program():
    base = resolve({})
    traced = [
        "seed",
        *(f"optimizer.{key}" for key in ("peak_rate", "weight_decay", "beta1", "beta2")),
    ]
    assert all(program(resolve({key: 0.5})) == program(base) for key in traced)
    assert program(resolve({"train.steps": 11})) != program(base)
    averaged = [program(resolve({"train.average_decay": decay})) for decay in (None, 0.9, 0.99)]
    assert averaged[0] != averaged[1] == averaged[2]
    assert base == resolve({})


def test_cost_is_flops_else_tokens():
    assert cost(resolve({"train.budget_flops": 1e9})) == 1e9
    assert cost(resolve({"train.tokens": 5000})) == 5000
    assert cost(resolve({})) == 10 * 4 * 64


@pytest.mark.parametrize(
    ("costs", "cores", "workers"),
    [
        ([1.0] * 64, 8, 8),  # alike: a core each
        ([1.0], 8, 1),  # alone: all cores
        ([1.0] * 3, 8, 4),  # three at a time, each on two cores
        ([8.0] + [1.0] * 8, 8, 2),  # the others end on half of the cores meanwhile
        ([100.0, 1.0, 1.0], 8, 1),
    ],
)
def test_a_sweep_gets_the_workers_with_which_it_ends_first(costs, cores, workers):
    assert best_workers(lambda workers: [costs], cores) == workers


def test_no_sweep_takes_longer_than_its_runs_one_after_another():
    rng = np.random.default_rng(0)
    for cores in (2, 4, 6, 64):
        costs = sorted(rng.lognormal(sigma=2, size=rng.integers(1, 40)), reverse=True)
        workers = best_workers(lambda workers, costs=costs: [costs], cores)
        seconds = makespan(costs, workers) / (cores // workers) ** SPEED_BY_CORES
        assert seconds <= sum(costs) / cores**SPEED_BY_CORES * (1 + 1e-9)
