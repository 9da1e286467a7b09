"""A branch that leaves its trunk at a checkpoint is the run of its own horizon in one go."""

import shutil
from pathlib import Path

import pytest

from lm_lab.runs import commits
from lm_lab.train import branch, loop
from lm_lab.train.run import Run, bind_runs
from lm_lab.types import UserError
from tests import tiny
from tests.cli.cli_helpers import final_arrays, records
from tests.train.launched import Killed, kill_at

pytestmark = pytest.mark.usefixtures("shared_programs")

LEFT, TRUNK, HORIZON = 5, 8, 10  # steps; the last fifth falls, so all rates before 6 are one
STABLE = {"schedule.name": "wsd", "train.keep_steps": (LEFT,), "train.keep_checkpoints": 1}


def run_in(directory: Path, steps: int, **changes) -> Run:
    return Run(*tiny.resolve(STABLE | {"train.steps": steps} | changes), directory)


def branch_in(directory: Path, trunk: Path, **changes) -> Run:
    begins = {"train.branch_from": str(trunk), "train.branch_step": LEFT, "train.steps": HORIZON}
    return Run(*tiny.resolve(STABLE | begins | changes), directory)


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> Path:
    """A complete run of TRUNK steps: its own end has a cooldown."""
    directory = tmp_path_factory.mktemp("runs") / "trunk"
    loop.train([run_in(directory, TRUNK)])
    return directory


@pytest.fixture
def copy(trunk, tmp_path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(trunk, tmp_path / "trunk"))


def test_a_finished_run_goes_on_to_a_later_end_as_a_branch_to_the_bit(copy, tmp_path, monkeypatch):
    assert [commits.step_of(each) for each in commits.committed(copy / "checkpoints")] == [8, 5]
    own = branch_in(tmp_path / "branch", copy)
    with monkeypatch.context() as patch:
        kill_at(patch, 2, after=False)  # its first checkpoint is there, its last is not
        with pytest.raises(Killed):
            loop.train([own])
    shutil.rmtree(copy)  # a branch with a checkpoint of its own needs no trunk
    loop.train([own])
    loop.train([run_in(tmp_path / "whole", HORIZON)])
    branched, whole = (final_arrays(tmp_path / name) for name in ("branch", "whole"))
    assert [one.tobytes() for one in branched] == [other.tobytes() for other in whole]
    lines, result = records(tmp_path / "branch")
    wanted_lines, wanted = records(tmp_path / "whole")
    assert lines == wanted_lines
    paid = {"branch_step": LEFT, "paid_flops": wanted["flops"] * (HORIZON - LEFT) // HORIZON}
    assert result == wanted | paid


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seed": 1}, "config.seed is 0 in .*trunk and 1 here, .*; give the same, or leave"),
        ({"optimizer.peak_rate": 0.5}, "config.optimizer.peak_rate is 0.01 in .* and 0.5 here"),
        ({"model.width": 32}, "config.model.width is 16 in"),
        ({"data.source.symbols": 5}, "config.data.source.symbols is 4 in"),
        ({"train.batch_size": 4}, "config.train.batch_size is 8 in"),
        (
            {"train.branch_step": 6},
            "has those of steps 5, 8, and none of step 6; .*keep_steps='\\(6,\\)'",
        ),
        ({"train.branch_from": "gone"}, "config.train.branch_from: .*gone is no run's directory"),
        ({"train.branch_from": "branch"}, "branch_from is the run's own directory"),
    ],
)
def test_what_would_be_another_state_is_refused_in_one_line(trunk, tmp_path, changes, message):
    if "train.branch_from" in changes:
        changes = {"train.branch_from": str(tmp_path / changes["train.branch_from"])}
    with pytest.raises(UserError, match=message) as refused:
        loop.train([branch_in(tmp_path / "branch", trunk, **changes)])
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "branch").glob("config.json"))  # another config may begin there


def check(run: Run, text: str = "") -> None:
    """What is checked as a run begins, by the text that it reads."""
    (bound,) = bind_runs([run])
    steps = bound.experiment.train.steps
    assert steps is not None
    text = text or bound.task.dataset.identity
    branch.find(bound).check(bound.task.update, steps, text, "")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.branch_step": 8}, "at step 7 .* a run of 8 .* is 0.6625 .* from step 7 or before"),
        ({"train.steps": 5}, "branch_step 5 is not before the end of the run, at step 5"),
        ({"schedule.warmup_fraction": 0.3}, "at step 0 the rate of .* give both the same warm-up"),
    ],
)
def test_another_rate_before_the_branch_is_refused(trunk, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        check(branch_in(tmp_path / "branch", trunk, **changes))


def test_another_schedule_with_the_same_rates_so_far_may_follow_the_trunk(trunk, tmp_path):
    run = branch_in(tmp_path / "branch", trunk, **{"schedule.name": "constant"})
    check(run)
    with pytest.raises(UserError, match="trunk was trained on other text; give the same"):
        check(run, "another")


def test_a_damaged_checkpoint_and_an_unfinished_trunk_are_named(copy, tmp_path):
    own = branch_in(tmp_path / "branch", copy)
    folder = commits.folder_of(copy / "checkpoints", LEFT)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"step_00000005 is damaged .*; name another branch_step"):
        loop.train([own])
    shutil.rmtree(folder)
    (copy / "result.json").unlink()
    with pytest.raises(
        UserError, match=r"has those of steps 8, .* train it further, for it has not ended"
    ):
        loop.train([own])


def test_from_and_step_go_together():
    with pytest.raises(UserError, match="branch_from and branch_step go together"):
        tiny.resolve({"train.branch_step": 4})
