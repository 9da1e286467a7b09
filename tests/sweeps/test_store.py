"""Names of runs, plans, and what a sweep directory accepts."""

import json
import subprocess
import sys

import pytest

from lm_lab.sweeps.algebra import chain, param
from lm_lab.sweeps.store import check, plan, planned_runs, read, write
from lm_lab.train.records import fingerprint
from lm_lab.types import UserError
from tests.sweeps.fakes import BASE, resolve, study_of


def planned_of(sweep, name="fake"):
    study = study_of(sweep, name)
    return study, plan(study, resolve)


def test_a_name_depends_on_content_not_on_order():
    backwards = dict(reversed([(k, dict(reversed(v.items())) if isinstance(v, dict) else v) for k, v in BASE.items()]))
    assert list(backwards) != list(BASE)
    assert fingerprint(backwards) == fingerprint(BASE)
    assert fingerprint({**BASE, "seed": 1}) != fingerprint(BASE)


def test_a_name_is_the_documented_hash():
    import hashlib

    assert fingerprint({"b": 0.1, "a": [1, None]}) == hashlib.sha256(b'{"a":[1,null],"b":0.1}').hexdigest()[:12]


def test_a_name_is_the_same_in_another_process():
    program = f"from lm_lab.train.records import fingerprint; print(fingerprint({BASE!r}))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == fingerprint(BASE)


def test_a_plan_keeps_order_and_collapses_equal_runs():
    study, planned = planned_of(chain(param("seed", [2, 1, 2]), [{}, {"seed": 0}]))
    assert len(study.sweep) == 5
    assert [run.config["seed"] for run in planned] == [2, 1, 0]
    assert planned[2].overrides == {}


def test_a_plan_resolves_every_point_and_names_the_bad_one():
    def strict(overrides):
        if overrides["model.width"] < 0:
            raise UserError("config.model.width must be at least 1, not -4")
        return resolve(overrides)

    with pytest.raises(UserError, match=r"'fake', point 3 of 3 \(model.width=-4\): config.model.width must be"):
        plan(study_of(param("model.width", [4, 8, -4])), strict)


def test_a_sweep_is_read_as_written(tmp_path):
    study, planned = planned_of(param("seed", [0, 1]))
    write(tmp_path, study, planned, "lm-lab sweep x", {"jax": "0.10.2"})
    record = read(tmp_path)
    assert set(record) == {"name", "question", "command", "analysis", "runs", "environment", "created"}
    assert planned_runs(record) == planned
    assert record["environment"] == {"jax": "0.10.2"}


def test_a_study_may_grow_and_keeps_its_birthday(tmp_path):
    write(tmp_path, *planned_of(param("seed", [0, 1])), "first", {})
    record = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps({**record, "created": "2026-01-01T00:00:00+00:00"}))
    write(tmp_path, *planned_of(param("seed", [2, 1, 0])), "second", {})
    assert read(tmp_path)["created"] == "2026-01-01T00:00:00+00:00"
    assert read(tmp_path)["command"] == "second"
    assert len(read(tmp_path)["runs"]) == 3


@pytest.mark.parametrize(
    "sweep, name, words",
    [
        (param("seed", [0, 1]), "other", "holds study 'fake', not 'other'"),
        (param("seed", [0, 3]), "fake", r"holds 1 runs that study 'fake' no longer has, first: seed=1;"),
    ],
)
def test_another_study_is_refused_and_nothing_touched(tmp_path, sweep, name, words):
    write(tmp_path, *planned_of(param("seed", [0, 1])), "", {})
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(UserError, match=words):
        write(tmp_path, *planned_of(sweep, name), "", {})
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_changed_base_is_named(tmp_path):
    write(tmp_path, *planned_of(param("seed", [0, 1])), "", {})
    study = study_of(param("seed", [0, 1]))
    planned = plan(study, lambda point: resolve({"train.steps": 20, **point}))
    with pytest.raises(UserError, match=r"first: seed=0 \(config.train.steps was 10, is 20\)"):
        check(tmp_path, study, planned)


def test_other_directories_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no sweep .* lm-lab sweep"):
        read(tmp_path)
    (tmp_path / "sweep.json").write_text("{half")
    with pytest.raises(UserError, match=r"sweep.json cannot be read"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run, not a sweep"):
        check(tmp_path, *planned_of([{}]))
