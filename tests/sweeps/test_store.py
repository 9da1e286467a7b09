"""Names of runs, plans, and which studies a sweep directory accepts."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lm_lab.runs.sweep import read_sweep
from lm_lab.sweeps.algebra import chain, param, product, together
from lm_lab.sweeps.store import adopt, check, is_written, plan, write
from lm_lab.types import UserError
from tests.sweeps.fakes import BASE, resolve, study_of


def planned_of(sweep, name="fake"):
    study = study_of(sweep, name)
    return study, plan(study, resolve)


def test_a_name_depends_on_content_not_on_order():
    backwards = dict(
        reversed(
            [(k, dict(reversed(v.items())) if isinstance(v, dict) else v) for k, v in BASE.items()]
        )
    )
    assert list(backwards) != list(BASE)
    forth, back = plan(study_of([{}]), resolve), plan(study_of([{}]), lambda overrides: backwards)
    assert forth[0].name == back[0].name
    assert planned_of([{"seed": 1}])[1][0].name != forth[0].name


def test_names_are_the_same_in_another_process():
    program = """
from lm_lab.sweeps.store import plan
from tests.sweeps.fakes import resolve, study_of
print([run.name for run in plan(study_of([{"seed": 0}, {"optimizer.peak_rate": 1e-05}]), resolve)])
"""
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    _, planned = planned_of([{"seed": 0}, {"optimizer.peak_rate": 1e-05}])
    assert answer.stdout.strip() == str([run.name for run in planned])


def test_a_plan_keeps_order_and_collapses_equal_runs():
    study, planned = planned_of(chain(param("seed", [2, 1, 2]), [{}, {"seed": 0}]))
    assert len(study.sweep) == 5
    assert [run.config["seed"] for run in planned] == [2, 1, 0]
    assert planned[2].overrides == {}


TRUNK = {"train.steps": 20, "train.keep_steps": [4, 8]}
BRANCHES = together(param("train.steps", [5, 10]), param("train.branch_step", [4, 8]))


def test_each_branch_leaves_the_run_with_its_own_settings():
    _, planned = planned_of(product(param("seed", [0, 1]), chain([TRUNK], BRANCHES)))
    trunks = {
        run.config["seed"]: run.name for run in planned if "train.keep_steps" in run.overrides
    }
    found = [run.config["train"].get("branch_from") for run in planned]
    assert found == [None, trunks[0], trunks[0], None, trunks[1], trunks[1]]
    whole = planned_of(product(param("seed", [0, 1]), param("train.steps", [20, 5, 10])))[1]
    assert [run.name for run in planned[1:3]] == [run.name for run in whole[1:3]]  # the same runs


@pytest.mark.parametrize(
    "trunk, there", [([], "no run"), ([TRUNK, TRUNK | {"train.steps": 30}], "2 runs")]
)
def test_a_branch_without_one_trunk_is_refused(trunk, there):
    with pytest.raises(
        UserError, match=rf"train.branch_step=4\): {there} of the study with the sa"
    ):
        planned_of(chain(trunk, BRANCHES))


def test_a_plan_resolves_every_point_and_names_the_bad_one():
    def strict(overrides):
        if overrides["model.width"] < 0:
            raise UserError("config.model.width must be at least 1, not -4")
        return resolve(overrides)

    with pytest.raises(
        UserError, match=r"'fake', point 3 of 3 \(model.width=-4\): config.model.width must be"
    ):
        plan(study_of(param("model.width", [4, 8, -4])), strict)


def test_a_sweep_is_read_as_written(tmp_path):
    study, planned = planned_of(param("seed", [0, 1]))
    write(tmp_path, study, planned, {"command": "lm-lab sweep x", "jax": "0.10.2"})
    stored = read_sweep(tmp_path)
    assert (stored.name, stored.question, stored.analysis) == (
        study.name,
        study.question,
        study.analysis,
    )
    assert stored.runs == planned
    assert stored.command == "lm-lab sweep x"
    assert stored.environment["jax"] == "0.10.2"


def test_what_is_written_is_known(tmp_path):
    study, planned = planned_of(param("model.width", [16, 32]))
    assert not is_written(tmp_path, study, planned)
    write(tmp_path, study, planned, {"command": ""})
    assert is_written(tmp_path, study, planned)
    assert not is_written(tmp_path, *planned_of(param("model.width", [16, 32, 64])))


def test_a_study_may_grow_and_keeps_its_birthday(tmp_path):
    write(tmp_path, *planned_of(param("seed", [0, 1])), {"command": "first"})
    record = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(
        json.dumps({**record, "created": "2026-01-01T00:00:00+00:00"})
    )
    write(tmp_path, *planned_of(param("seed", [2, 1, 0])), {"command": "second"})
    assert read_sweep(tmp_path).created == "2026-01-01T00:00:00+00:00"
    assert read_sweep(tmp_path).command == "second"
    assert len(read_sweep(tmp_path).runs) == 3


@pytest.mark.parametrize(
    "sweep, name, words",
    [
        (param("seed", [0, 1]), "other", "holds study 'fake', not 'other'"),
        (
            param("seed", [0, 3]),
            "fake",
            r"holds 1 runs that study 'fake' no longer has, first: seed=1;",
        ),
    ],
)
def test_another_study_is_refused_and_nothing_touched(tmp_path, sweep, name, words):
    write(tmp_path, *planned_of(param("seed", [0, 1])), {"command": ""})
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(UserError, match=words):
        write(tmp_path, *planned_of(sweep, name), {"command": ""})
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_changed_base_is_named(tmp_path):
    write(tmp_path, *planned_of(param("seed", [0, 1])), {"command": ""})
    study = study_of(param("seed", [0, 1]))
    planned = plan(study, lambda point: resolve({"train.steps": 20, **point}))
    with pytest.raises(UserError, match=r"first: seed=0 \(config.train.steps was 10, is 20\)"):
        check(tmp_path, study, planned)


def test_stored_names_are_kept_where_keys_were_added_or_the_mesh_changed(tmp_path):
    def later(overrides):
        config = resolve(overrides)
        return {
            **config,
            "optimizer": {**config["optimizer"], "clip_norm": 1.0},
            "mesh": {"data": 2},
        }

    study, planned = planned_of(param("seed", [0, 1]))
    write(
        tmp_path,
        study,
        [dataclasses.replace(run, name=f"old{i}") for i, run in enumerate(planned)],
        {"command": ""},
    )
    moved = plan(study_of(param("seed", [1, 0, 2])), later)
    assert [run.name for run in adopt(tmp_path, moved)] == ["old1", "old0", moved[2].name]
    assert adopt(tmp_path / "elsewhere", moved) == moved


def test_runs_that_differ_in_the_mesh_alone_stay_two(tmp_path):
    def on_meshes(overrides):
        return {**resolve({}), "mesh": overrides}

    study = study_of([{"data": 1}, {"data": 2}])
    planned = plan(study, on_meshes)
    assert len({run.name for run in planned}) == 2
    write(tmp_path, study, planned, {"command": ""})
    assert adopt(tmp_path, planned) == planned


def test_the_directory_of_a_run_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run, not a sweep"):
        check(tmp_path, *planned_of([{}]))
