"""Runs that are killed and started again, alone or together, end in the
bits of undisturbed ones.
"""

import os
import signal

import pytest

from lm_lab.runs import records
from lm_lab.train import loop, microbatches
from lm_lab.train.preemption import Preempted
from lm_lab.train.writer import RunWriter
from tests.train.launched import THREE, Killed, assert_same, kill_at, newest, runs_in

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.mark.gpu
@pytest.mark.parametrize("number, after", [(1, False), (1, True), (3, False), (4, True)])
def test_a_run_killed_and_started_again_ends_in_the_same_bits(
    tmp_path, monkeypatch, undisturbed, number, after
):
    runs = runs_in(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, number, after)
        with pytest.raises(Killed):
            loop.train(runs)
    assert records.read_result(runs[0].directory) is None
    loop.train(runs)
    assert_same(runs, undisturbed[:1])


def test_a_run_killed_again_and_again_ends_in_the_same_bits(tmp_path, monkeypatch, undisturbed):
    runs = runs_in(tmp_path)
    for _ in range(4):  # each time it gets one save further
        with monkeypatch.context() as patch:
            kill_at(patch, 1, after=True)
            with pytest.raises(Killed):
                loop.train(runs)
    loop.train(runs)
    assert_same(runs, undisturbed[:1])


def test_microbatches_that_were_chosen_stay_where_there_is_more_memory(
    tmp_path, monkeypatch, undisturbed
):
    runs = runs_in(tmp_path, **{"train.microbatches": None})
    with monkeypatch.context() as patch:
        patch.setattr(microbatches, "fewest", lambda parts, peak, room: 1)  # a program at hand
        kill_at(patch, 2, after=True)
        with pytest.raises(Killed):
            loop.train(runs)
    monkeypatch.delattr(microbatches, "fewest")  # nothing is chosen any more
    monkeypatch.setattr(microbatches, "FILLED", 2.0)
    loop.train(runs)
    assert_same(runs, undisturbed[:1])


@pytest.mark.parametrize(
    "number", [2, 6, 8]
)  # the second member's first save, the third's second, the second's third
def test_members_whose_newest_checkpoints_differ_go_on_from_what_all_have(
    tmp_path, monkeypatch, undisturbed, number
):
    runs = runs_in(tmp_path, THREE)
    with monkeypatch.context() as patch:
        kill_at(patch, number, after=False)
        with pytest.raises(Killed):
            loop.train(runs)
    assert len({newest(run) for run in runs}) == 2
    loop.train(runs)
    assert_same(runs, undisturbed)


@pytest.mark.gpu
def test_members_trained_apart_go_on_together(tmp_path, monkeypatch, undisturbed):
    runs = runs_in(tmp_path, THREE)
    for run, saves in ((runs[0], 1), (runs[1], 2)):
        with monkeypatch.context() as patch:
            kill_at(patch, saves, after=True)
            with pytest.raises(Killed):
                loop.train([run])
    loop.train(runs[2:])
    loop.train(runs)
    assert_same(runs, undisturbed)


def test_a_population_that_grows_and_shrinks_under_kills_leaves_no_hole(
    tmp_path, monkeypatch, undisturbed
):
    runs = runs_in(tmp_path, THREE)
    for members, saves in (([0], 3), ([0, 1], 2), ([1, 2], 2), ([0, 2], 1)):
        with monkeypatch.context() as patch:
            kill_at(patch, saves, after=True)
            with pytest.raises(Killed):
                loop.train([runs[index] for index in members])
    loop.train(runs[:1])
    loop.train(runs)
    assert_same(runs, undisturbed)


def test_a_member_that_was_stopped_loses_no_step_to_one_that_has_not_begun(
    tmp_path, monkeypatch, undisturbed
):
    runs = runs_in(tmp_path, THREE)
    with monkeypatch.context() as patch:
        kill_at(patch, 1, after=True)
        with pytest.raises(Killed):
            loop.train(runs[:1])
    with monkeypatch.context() as patch:
        kill_at(patch, 1, after=False)
        with pytest.raises(Killed):
            loop.train(runs)
    assert newest(runs[0]) == "step_00000002"
    loop.train(runs)
    assert_same(runs, undisturbed)


def test_members_behind_catch_up_before_the_others_go_on(tmp_path, monkeypatch, undisturbed):
    runs = runs_in(tmp_path, THREE)
    with monkeypatch.context() as patch:
        kill_at(patch, 3, after=True)
        with pytest.raises(Killed):
            loop.train(runs[:1])
    populations, train = [], loop._train

    def noted(compiled, population, *rest):
        populations.append((len(population.members), population.step, population.until))
        train(compiled, population, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train", noted)
        kill_at(patch, 2, after=True)
        with pytest.raises(Killed):
            loop.train(runs)
        patch.undo()
        patch.setattr(loop, "_train", noted)
        loop.train(runs)
    assert populations == [(2, 0, 6), (2, 2, 6), (3, 6, None)]
    assert_same(runs, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, monkeypatch, undisturbed, number):
    runs = runs_in(tmp_path, **{"train.checkpoint_every_steps": 100})
    log = RunWriter.log

    def interrupted(self, first_step, *args):
        if first_step == 2:
            os.kill(os.getpid(), number)
        log(self, first_step, *args)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "log", interrupted)
        with pytest.raises(Preempted, match=f"{number.name} at step 6: saved"):
            loop.train(runs)
    assert signal.getsignal(number) == before
    assert (
        newest(runs[0]) == "step_00000006"
    )  # that came while the evaluation of step 4 was under way
    loop.train(runs)
    assert_same(runs, undisturbed[:1])
