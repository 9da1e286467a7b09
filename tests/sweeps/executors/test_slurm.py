"""Job arrays on a one-node Slurm: outcomes, retries, cancelling, and what sbatch refuses."""

import dataclasses
from pathlib import Path

import pytest

from lm_lab.sweeps.executors import choose, slurm
from lm_lab.types import UserError
from tests.sweeps.executors import one_node
from tests.sweeps.fakes import no_costs, wait_for

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not one_node.is_installed(), reason="needs slurmctld, slurmd and munge"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with one_node.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def commands(cluster, monkeypatch):
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster[name])


def arrays(**settings):
    return choose("slurm", {"workers": 4, "poll_seconds": 0.1, **settings})("cpu", no_costs)


def test_outcomes_say_how_and_why(unit, tmp_path):
    scripts = {
        "good": "echo fine",
        "bad": "echo half; echo; echo 'no luck' >&2; exit 3",
        "mute": "exit 4",
        "quoted": "printf '%s' 'a \"b\" $c'; exit 1",
    }
    units = [unit(name, script) for name, script in scripts.items()]
    outcomes = {outcome.unit.names[0]: outcome for outcome in arrays().run(units)}
    assert {name: outcome.code for name, outcome in outcomes.items()} == {
        "good": 0,
        "bad": 3,
        "mute": 4,
        "quoted": 1,
    }
    assert outcomes["bad"].message.startswith("no luck (Slurm job ")
    assert outcomes["mute"].message.startswith("ended with exit code 4 and no result (Slurm job ")
    assert outcomes["quoted"].message.startswith('a "b" $c (')
    assert units[1].log.read_text() == "half\n\nno luck\n"
    (folder,) = (tmp_path / "slurm").iterdir()
    assert "#SBATCH --array=0-3%4" in (folder / "array.sh").read_text()


def test_what_was_killed_or_asks_to_be_resumed_begins_again_as_often_as_allowed(unit, tmp_path):
    hung = unit("hung", f"echo try >> {tmp_path}/hung; exit 75")
    # killed at first, complete then
    second = f"test -e {tmp_path}/there && exit 0; touch {tmp_path}/there; kill -9 $$"
    outcomes = {
        outcome.unit.names[0]: outcome
        for outcome in arrays(retries=2).run([hung, unit("killed", second)])
    }
    assert (outcomes["hung"].code, outcomes["killed"].code) == (75, 0)
    assert (tmp_path / "hung").read_text() == "try\n" * 3


def test_a_task_that_vanishes_with_its_node_is_started_again(unit, tmp_path):
    # the shell of the task is gone before it can tell an exit code
    lost = f"test -e {tmp_path}/once && exit 0; touch {tmp_path}/once; kill -9 $PPID; sleep 60"
    (outcome,) = arrays(retries=1).run([unit("lost", lost)])
    assert outcome.code == 0


def test_a_branch_waits_for_its_own_trunk_alone(unit, tmp_path):
    kept, seen = tmp_path / "kept", tmp_path / "seen"
    wait = f"for i in $(seq 300); do test -e {seen} && exit 0; sleep 0.1; done; exit 9"
    trunk = unit("trunk", f"sleep 0.3; touch {kept}; {wait}")  # ends when its branch has begun
    branch = dataclasses.replace(unit("branch", f"test -e {kept} && touch {seen}"), after=(kept,))
    outcomes = {(each.unit.names, each.code) for each in arrays().run([branch, trunk])}
    assert outcomes == {(("branch",), 0), (("trunk",), 0)}  # they end together


def test_closing_cancels_what_is_left_after_it_has_saved(unit, tmp_path):
    saves = f"trap 'echo saved > {tmp_path}/saved; exit 75' TERM; touch {tmp_path}/began; "
    units = [unit("quick", "exit 1"), unit("long", f"{saves} while true; do sleep 0.05; done")]
    running = arrays().run(units)
    assert next(running).unit.names == ("quick",)
    wait_for((tmp_path / "began").exists)
    running.close()
    assert (tmp_path / "saved").read_text() == "saved\n"


def test_what_slurm_refuses_is_one_line(unit, monkeypatch):
    with pytest.raises(UserError, match=r"--executor=slurm: sbatch: .*invalid partition specified"):
        list(arrays(partition="gone").run([unit("a", "true")]))
    monkeypatch.setenv("PATH", str(Path(slurm.__file__).parent))
    with pytest.raises(UserError, match="--executor=slurm needs sbatch, which is not on PATH"):
        arrays()
