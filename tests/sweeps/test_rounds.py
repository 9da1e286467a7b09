"""Searches: points proposed from recorded results, the same after a kill; runs that end early."""

import dataclasses
import io
import json
import math
import time

import pytest

from lm_lab.contracts import Outcome
from lm_lab.runs.sweep import read_sweep
from lm_lab.sweeps import rounds
from lm_lab.sweeps.algebra import choice, log_uniform
from lm_lab.sweeps.launch import launch
from lm_lab.sweeps.search import Search, Trial
from lm_lab.types import UserError
from tests.sweeps.fakes import resolve, study_of

pytest.importorskip("optuna", reason="the extra `search`")

SPACE = {"optimizer.peak_rate": log_uniform(1e-4, 1.0), "model.width": choice([8, 16, 32])}
STEPS = (10, 20, 30, 40)


class Valley:
    """An executor whose runs end at once, with a loss that has its minimum at rate 0.01, width 16.

    It may break off after `most` runs, as if it were killed. With `waits` a run is slow after its
    first evaluation, so that it may be given up.
    """

    workers = 1000

    def __init__(self, most=math.inf, waits=False):
        self.most, self.waits, self.ran = most, waits, []

    def run(self, units):
        for unit in units:
            if len(self.ran) >= self.most:
                raise KeyboardInterrupt
            (name,) = unit.names
            self.ran.append(name)
            self._train(unit.log.parents[2], name)
            yield Outcome(unit, 0, "")

    def _train(self, directory, name):
        (run,) = [run for run in read_sweep(directory).runs if run.name == name]
        rate, width = (run.overrides[key] for key in SPACE)
        loss = math.log10(rate / 0.01) ** 2 + abs(math.log2(width / 16))
        folder = directory / "runs" / name
        folder.mkdir(parents=True)
        result = {"status": "complete", "steps": STEPS[-1], "seconds": 0.1, "params": {}}
        value = math.nan
        with (folder / "metrics.jsonl").open("w") as file:
            for step in STEPS:
                value = loss + 4 / step
                file.write(json.dumps({"step": step, "eval/heldout/nll": value}) + "\n")
                file.flush()
                if self.waits and loss > 1:
                    time.sleep(0.1)
                if (folder / "prune").exists():
                    result |= {"status": "pruned", "steps": step, "message": "given up"}
                    break
        result["final"] = {"eval/heldout/nll": value}
        (folder / "result.json").write_text(json.dumps(result))


def start(folder, executor, **more):
    search = Search(SPACE, **{"count": 20, "at_once": 4, "seed": 1, **more})
    return launch(
        dataclasses.replace(study_of([{}]), sweep=[], search=search),
        folder,
        resolve,
        lambda directory, names: ["true"],
        lambda platform, costs: executor,
        environment=lambda: {"command": "", "devices": {"platform": "cpu"}},
        stream=io.StringIO(),
    )


def proposed(folder):
    return [point for points in read_sweep(folder).proposed for point in points]


def test_a_search_ends_near_the_best_point_and_goes_on_from_what_is_recorded(tmp_path):
    executor = Valley()
    summary = start(tmp_path, executor)
    assert summary.finished
    assert [len(points) for points in read_sweep(tmp_path).proposed] == [4] * 5
    assert [row["optimizer.peak_rate"] for row in summary.rows] == [
        point["optimizer.peak_rate"] for point in proposed(tmp_path)
    ]
    losses = [row["loss"] for row in summary.rows]
    assert min(losses[8:]) < min(losses[:8])  # the first 8 are drawn at random

    again = Valley()
    assert start(tmp_path, again).rows == summary.rows
    assert again.ran == []
    assert len(start(tmp_path, again, count=22).rows) == 22
    assert len(again.ran) == 2


def test_a_search_that_is_killed_proposes_the_same_points(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(whole, Valley())
    for most in (2, 3, 4, 5):
        with pytest.raises(KeyboardInterrupt):
            start(killed, Valley(most))
    start(killed, Valley())
    assert proposed(killed) == proposed(whole)
    assert (killed / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_bad_runs_are_given_up_and_count_as_far_as_they_went(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "LOOK_SECONDS", 0.01)
    settings = {"sampler": "random", "pruner": "median", "startup_trials": 4}
    summary = start(tmp_path, Valley(waits=True), count=12, settings=settings)
    pruned = summary.having("pruned")
    assert pruned
    assert summary.finished
    best = min(summary.having("complete"), key=lambda row: row["loss"])
    assert best["loss"] < min(row["loss"] for row in pruned)
    search = Search(SPACE, count=12, settings=settings)
    searcher = rounds.Chosen(search)
    trials = rounds.trials_of(tmp_path, search, searcher, read_sweep(tmp_path).proposed)
    given_up = [trial for trial in trials if trial.is_pruned]
    assert len(given_up) >= len(pruned)
    assert all(len(trial.values) <= len(STEPS) for trial in given_up)
    assert start(tmp_path, Valley(), count=12, settings=settings).rows == summary.rows


@pytest.mark.parametrize("better, sign", [("lower", 1.0), ("higher", -1.0)])
def test_halving_keeps_the_best_quarter_at_each_rung(better, sign):
    settings = {"pruner": "halving", "startup_trials": 8, "sampler": "random"}
    search = Search(SPACE, count=12, settings=settings, metric="eval/x", better=better)
    searcher = rounds.Chosen(search)
    point = {"optimizer.peak_rate": 0.01, "model.width": 8}

    def shown(value, *steps):
        return [(step, sign * (value + 10 / step)) for step in steps]

    # rungs at 10, 40 and 160 steps; half of the trials were given up at the first
    trials = [
        Trial(point, sign * i, shown(i, 10, 40, 160) if i % 2 else shown(i, 10), i % 2 == 0)
        for i in range(8)
    ]
    judge = searcher.judge(trials)
    every = (10, 20, 40, 80, 160)
    assert judge(shown(0.5, *every)) is None  # the best of all
    assert judge(shown(7.5, *every)) == 10
    # the second of nine is in the best quarter, and of the five at the next rung it must be first
    assert judge([*shown(0.5, 10, 20), *shown(2.5, 40, 80)]) == 40
    assert judge(shown(0.5, 10)) is None
    assert judge([(10, math.nan)]) == 10
    assert searcher.judge(trials[:4])(shown(9, *every)) is None  # too few to judge by


def test_all_samplers_propose_other_points_in_each_round():
    for sampler in ("qmc", "random"):
        search = Search(SPACE, count=8, seed=3, settings={"sampler": sampler})
        searcher = rounds.Chosen(search)
        first = searcher.propose([], 4)
        trials = [Trial(point, 1.0, [(10, 1.0)], False) for point in first]
        second = searcher.propose(trials, 4)
        assert searcher.propose(trials, 4) == second
        rates = [point["optimizer.peak_rate"] for point in (*first, *second)]
        assert len(set(rates)) == 8
        assert all(1e-4 <= rate <= 1.0 for rate in rates)
        assert {point["model.width"] for point in (*first, *second)} <= {8, 16, 32}


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"Search.settings.smapler .*sampler"):
        start(tmp_path, Valley(), settings={"smapler": "tpe"})
    with pytest.raises(UserError, match=r"no sweeps.searchers named 'optna'; did you mean"):
        start(tmp_path, Valley(), searcher="optna")
    with pytest.raises(UserError, match="better must be 'lower' or 'higher'"):
        start(tmp_path, Valley(), better="best")
