"""What earlier releases stored goes on: runs and sweeps, finished or killed in the middle.

0.1.0.tar.xz    runs of 40 steps: complete, and killed after a commit at 20; a sweep of 8 runs:
                complete (without its checkpoints), and killed with commits at steps 10 and 20
Made by commit 9f16dae with jax 0.10.2 on a CPU; locks and TensorBoard files are left out.
"""

import dataclasses
import json
import math
import shutil
import tarfile
from pathlib import Path

import pytest

from lm_lab import config as configs
from lm_lab.optimizers import adamw
from lm_lab.runs import records
from lm_lab.runs.config import read_config_file
from lm_lab.runs.sweep import run_directory
from lm_lab.schema import setting
from lm_lab.sweeps import executors
from lm_lab.sweeps import study as studies
from lm_lab.sweeps.launch import launch
from lm_lab.sweeps.results import collect
from lm_lab.train import loop
from lm_lab.train.run import Run
from lm_lab.train.task import bind
from lm_lab.types import UserError
from tests.cli import cli_helpers

# relative, of losses in nats: other processors, releases of jax and compiler settings round
# otherwise
SAME = 1e-3


@pytest.fixture(params=sorted(path.name for path in Path(__file__).parent.glob("*.tar.xz")))
def release(request, tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).with_name(request.param)) as archive:
        archive.extractall(tmp_path, filter="data")
    place = tmp_path / request.param.removesuffix(".tar.xz")
    for name in ("config.py", "study.py"):  # as the lines on keys of version 1 tell
        text = (place / name).read_text()
        for old, new in WORDS.items():
            assert old in text
            text = text.replace(old, new)
        (place / name).write_text(text)
    return place


# What a user writes for the keys of version 1 in a config file.
OLD = '"source": "synthetic", "length": 16, "documents": 64, "document_bytes": 256'
SOURCE = '"source": {"name": "synthetic", "documents": 64, "document_bytes": 256}, "length": 16'
SCHEDULE = '})\n    config.schedule = ConfigDict({"warmup_steps": 5})'
WORDS = {OLD: SOURCE, '"warmup_steps": 5})': SCHEDULE}


def asked(release: Path, name: str, **changes) -> Run:
    config = configs.load(str(release / "config.py"))
    task = bind(*configs.resolve(configs.override(config, changes)))
    return Run(task.experiment, task.values, release / name)


def lines(directory: Path) -> list[str]:
    return (directory / "metrics.jsonl").read_text().splitlines()


@pytest.fixture
def later_release(monkeypatch):
    """A release that has one optimizer setting more, which is off by default."""
    added = ("average_decay", float | None, setting("decay of an average", None))
    later = dataclasses.make_dataclass("Config", [added], bases=(adamw.Config,), frozen=True)
    monkeypatch.setattr(adamw, "OPTIMIZER", adamw.OPTIMIZER._replace(Config=later))


def test_a_killed_run_goes_on_though_a_release_brought_settings(release, later_release):
    run = asked(release, "interrupted")
    assert run.resolved["optimizer"]["average_decay"] is None
    before = lines(run.directory)[:2]
    (result,) = loop.train([run])
    assert lines(run.directory)[:2] == before  # steps 10 and 20, not made again
    assert [json.loads(line)["step"] for line in lines(run.directory)] == [10, 20, 20, 30, 40, 40]
    wanted = records.read_result(release / "complete")
    assert wanted is not None
    assert all(
        math.isclose(result["final"][key], value, rel_tol=SAME)
        for key, value in wanted["final"].items()
    )


def test_a_finished_run_is_left_as_it_is(release, later_release):
    before = cli_helpers.stored(release / "complete")
    (result,) = loop.train([asked(release, "complete")])
    assert result == records.read_result(release / "complete")
    assert cli_helpers.stored(release / "complete") == before


def test_a_setting_that_decides_the_result_is_another_run(release, later_release):
    with pytest.raises(
        UserError,
        match=r"complete holds another run: config.optimizer.average_decay is null there and",
    ):
        loop.train([asked(release, "complete", **{"optimizer.average_decay": 0.9})])


def test_a_run_moves_to_another_mesh_and_other_rhythms_and_says_so(release):
    changes = {"mesh.data": 2, "train.keep_checkpoints": 3, "train.log_every_steps": 5}
    run = asked(release, "interrupted", **changes)
    (result,) = loop.train([run])
    wanted = records.read_result(release / "complete")
    assert wanted is not None
    assert math.isclose(
        result["final"]["eval/heldout/nll"], wanted["final"]["eval/heldout/nll"], rel_tol=SAME
    )
    (line,) = map(json.loads, lines_of(run.directory / "changes.jsonl"))
    assert line["step"] == 20
    assert line["changes"] == {
        "mesh.data": [1, 2],
        "train.keep_checkpoints": [2, 3],
        "train.log_every_steps": [10, 5],
    }
    _, stored = read_config_file(run.directory / "config.json")
    assert stored == json.loads(json.dumps(run.resolved))


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def refuse(directory, names):
    raise AssertionError(f"{names} would be run again")


def test_a_finished_sweep_has_nothing_to_do(release, later_release):
    study = studies.load(release / "study.py")
    runner, place = executors.choose("local", {}), release / "sweep_complete"
    summary = launch(study, place, lambda point: resolve(study, point), refuse, runner)
    assert (len(summary.rows), summary.started, summary.finished) == (8, [], True)


def resolve(study, point):
    return dict(bind(*configs.resolve(configs.override(study.base, point))).values)


@pytest.mark.processes
def test_a_killed_sweep_is_finished_and_ends_as_it_would_have(release):
    for run in (release / "sweep_complete/runs").iterdir():  # half is complete, half interrupted
        if not run_directory(release / "sweep_interrupted", run.name).exists():
            shutil.copytree(run, run_directory(release / "sweep_interrupted", run.name))
    done = cli_helpers.lm_lab(
        "sweep", release / "study.py", f"--workdir={release}/sweep_interrupted", "--workers=1"
    )
    assert "8 runs: 8 complete" in done.stdout, done.stderr
    wanted = {row["name"]: row["loss"] for row in collect(release / "sweep_complete")}
    found = {row["name"]: row["loss"] for row in collect(release / "sweep_interrupted")}
    assert found.keys() == wanted.keys()
    assert all(math.isclose(found[name], wanted[name], rel_tol=SAME) for name in wanted)
    steps = [
        json.loads(line)["step"]
        for line in lines(run_directory(release / "sweep_interrupted", min(found)))
    ]
    assert sorted(set(steps)) == [*range(10, max(steps), 10), max(steps)]
