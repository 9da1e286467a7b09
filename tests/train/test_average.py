"""Runs with a moving average of their parameters, end to end."""

import math

import jax
import pytest

from lm_lab.library.runs import open_run
from lm_lab.runs import records
from lm_lab.train import loop, restore
from lm_lab.train.compiled import compile_program
from lm_lab.types import UserError
from tests import tiny
from tests.tiny import distance, same_bits
from tests.train.launched import Killed, assert_same, compile_once, kill_at, runs_in

pytestmark = pytest.mark.usefixtures("shared_programs")

TWO = ({"seed": 0, "train.average_decay": 0.5}, {"seed": 1, "train.average_decay": 0.3})


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """Two members whose decays differ, trained together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_LAB_CACHE", str(tmp_path_factory.getbasetemp() / "token_stores"))
        patch.setattr(loop, "compile_program", compile_once)
        runs = runs_in(tmp_path_factory.mktemp("averaged"), TWO)
        loop.train(runs)
    return runs


def test_it_is_evaluated_and_saved_beside_the_trained_parameters(averaged, undisturbed):
    plain = restore.load_params(undisturbed[0].directory)[2]
    trained = restore.load_params(averaged[0].directory)[2]
    average = restore.load_params(averaged[0].directory, average=True)[2]
    assert same_bits(trained, plain)
    assert jax.tree.structure(average) == jax.tree.structure(trained)
    assert 1e-4 < distance(average, trained) < 1
    for line in records.read_metrics(averaged[0].directory):
        assert ("eval/heldout_average/nll" in line) == ("eval/heldout/nll" in line)
    final = (records.read_result(averaged[0].directory) or {})["final"]
    assert 0 < abs(final["eval/heldout_average/nll"] - final["eval/heldout/nll"]) < 1


def test_texts_are_scored_with_the_parameters_that_are_asked_for(averaged):
    text, costs = "abab", []
    for average in (False, True):
        run = open_run(averaged[0].directory, average=average)
        logprobs = jax.nn.log_softmax(run.logits([256, *text.encode()]))
        wanted = -sum(float(logprobs[place, byte]) for place, byte in enumerate(text.encode()))
        costs.append(run.bits_per_byte(text) * len(text) * math.log(2))
        assert costs[-1] == pytest.approx(wanted, rel=1e-5)
    assert costs[0] != pytest.approx(costs[1], rel=1e-4)


def test_members_killed_and_started_again_end_in_the_same_bits(tmp_path, monkeypatch, averaged):
    runs = runs_in(tmp_path, TWO)
    with monkeypatch.context() as patch:
        kill_at(patch, 3, after=True)
        with pytest.raises(Killed):
            loop.train(runs)
    loop.train(runs)
    assert_same(runs, averaged)


def test_it_is_sharded_as_the_parameters_are_and_averages_adapters_alone():
    changes = {"adapter.name": "lora", "mesh.fsdp": 2, "train.average_decay": 0.9}
    compiled = compile_program([tiny.bound(tiny.resolve(changes)[0])])
    assert compiled.placed.slots["average"] == compiled.placed.params


def test_a_run_without_one_is_told_apart(undisturbed):
    with pytest.raises(UserError, match=r"keeps no average of .*config\.train\.average_decay"):
        restore.load_params(undisturbed[0].directory, average=True)
