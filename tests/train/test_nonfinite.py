"""Runs with steps that are not finite: their records, and that they resume to the same bits."""

import jax
import jax.numpy as jnp
import pytest

from lm_lab.runs import records
from lm_lab.train import loop, program
from tests.train.launched import Killed, assert_same, kill_at, runs_in

pytestmark = pytest.mark.usefixtures("shared_programs")

MEMBERS = ({"seed": 0}, {"seed": 1})  # the second one meets what is not finite


@pytest.fixture
def poisoned(monkeypatch):
    """Steps 3 and 5 of seed 1 read parameters that are not numbers."""
    make = program.train_step

    def poisoned_step(*args):
        step = make(*args)

        def bad(state, examples):
            hit = (state.hyper["seed"] == 1) & ((state.step == 3) | (state.step == 5))
            read = jax.tree.map(lambda leaf: jnp.where(hit, jnp.nan, leaf), state.params)
            return step(state._replace(params=read), examples)

        return bad

    monkeypatch.setattr(program, "train_step", poisoned_step)


def test_lost_steps_are_recorded_and_a_kill_between_them_changes_no_bit(
    tmp_path, monkeypatch, poisoned, capfd
):
    policy = {"name": "roll_back", "every_steps": 2}
    changes = {"train.nonfinite": policy, "train.average_decay": 0.9, "train.norms": "layers"}
    whole = runs_in(tmp_path / "whole", MEMBERS, **changes)
    results = loop.train(whole)
    assert [result["status"] for result in results] == ["complete", "complete"]
    said = [line for line in capfd.readouterr().err.splitlines() if "not finite" in line]
    assert said == [f"lm-lab: run1: not finite, so lost: step {step}" for step in (4, 6)]
    assert [result.get("lost_steps") for result in results] == [None, 2]
    lines = [line for line in records.read_metrics(whole[1].directory) if "train/nll" in line]
    assert [line["lost_steps"] for line in lines] == [0, 1, 2, 2]
    assert lines[1]["gradient_norm"] != lines[1]["gradient_norm"]  # NaN: that of the lost step
    for line in (lines[0], lines[3]):
        squares = [line[name] ** 2 for name in line if name.startswith("gradient_norm/")]
        assert sum(squares) == pytest.approx(line["gradient_norm"] ** 2, rel=1e-5)
    assert "parameter_norm/layers/attention/query/kernel/1" in lines[0]
    killed = runs_in(tmp_path / "killed", MEMBERS, **changes)
    with monkeypatch.context() as patch:
        kill_at(patch, 4, after=True)  # both have saved step 4, behind the first lost step
        with pytest.raises(Killed):
            loop.train(killed)
    loop.train(killed)
    assert_same(killed, whole)
