"""Statuses and rows from run directories alone."""

import json

import pytest

from lm_lab.runs.sweep import run_directory, swept
from lm_lab.sweeps.results import collect, status
from lm_lab.sweeps.store import plan, write
from tests.sweeps.fakes import resolve, study_of

RESULT = {
    "status": "complete",
    "steps": 40,
    "tokens": 2560,
    "flops": 1.5e9,
    "flops_per_token": {"counted": 585937.5, "6N_body": 540},
    "params": {"matmul": 100, "matmul_body": 90, "total": 120},
    "final": {"train/nll": 2.0, "eval/heldout/nll": 2.5, "eval/heldout/bits_per_byte": 3.625},
    "seconds": 0.1 + 0.2,
    "compile_seconds": 0.7,
}


@pytest.fixture
def sweep(tmp_path):
    study = study_of([{"seed": 0}, {"seed": 1, "model.width": 32}, {"train.budget_flops": 2e9}])
    planned = plan(study, resolve)
    write(tmp_path, study, planned, {"command": ""})
    return tmp_path, planned


def store(directory, run, result):
    folder = run_directory(directory, run.name)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))


def test_a_status_comes_from_the_directory(sweep):
    directory, planned = sweep
    assert set(status(directory).values()) == {"missing"}
    store(directory, planned[0], RESULT)
    store(directory, planned[1], {"status": "failed", "message": "out of luck"})
    store(directory, planned[2], {"status": "diverged", "steps": 3, "final": {}})
    assert list(status(directory).values()) == ["complete", "failed", "diverged"]


def test_rows_have_every_column(sweep):
    directory, planned = sweep
    store(directory, planned[1], RESULT)
    first, second, third = collect(directory)
    assert list(first) == list(second) == list(third)
    assert list(first)[:6] == [
        "name",
        "status",
        "message",
        "seed",
        "model.width",
        "train.budget_flops",
    ]
    assert (first["seed"], first["model.width"], first["status"], first["loss"]) == (
        0,
        16,
        "missing",
        None,
    )
    assert third["budget_flops"] == third["train.budget_flops"] == 2e9
    assert first["optimizer.peak_rate"] == 0.01  # that no run overrides, and a comparison asks for
    assert {key: second[key] for key in ("params", "params_body", "params_total")} == {
        "params": 100,
        "params_body": 90,
        "params_total": 120,
    }
    assert (second["flops_6N_body"], second["flops_palm"]) == (540 * 2560, None)
    assert (second["tokens"], second["flops"], second["loss"], second["bits_per_byte"]) == (
        2560,
        1.5e9,
        2.5,
        3.625,
    )


def test_a_run_with_a_broken_result_has_not_ended(sweep):
    directory, planned = sweep
    store(directory, planned[0], RESULT)
    path = run_directory(directory, planned[0].name) / "result.json"
    path.write_text("{half")
    assert [row["status"] for row in collect(directory)] == ["missing"] * 3


def test_a_choice_is_its_name_with_its_settings(tmp_path):
    schedules = ["wsd", {"name": "wsd", "decay_fraction": 0.5}]
    study = study_of([{"schedule": schedule, "seed": n} for n, schedule in enumerate(schedules)])
    write(tmp_path, study, plan(study, resolve), {"command": ""})
    assert [row["schedule"] for row in collect(tmp_path)] == ["wsd", "wsd(decay_fraction=0.5)"]


def test_the_text_to_choose_by_has_columns_of_its_own(tmp_path):
    study = study_of(
        [{"train.selection_batches": 2, "train.also_evaluate": ["continuation"]}, {"seed": 1}]
    )
    planned = plan(study, resolve)
    write(tmp_path, study, planned, {"command": ""})
    apart = {"heldout_selection/nll": 2.25, "continuation_selection/bits_per_byte": 3.0}
    apart["heldout/accuracy"] = 0.5
    final = RESULT["final"] | {f"eval/{name}": value for name, value in apart.items()}
    store(tmp_path, planned[0], RESULT | {"final": final})
    row, other = collect(tmp_path)
    assert (row["loss"], row["selection_loss"]) == (2.5, 2.25)
    assert (row["eval/heldout/accuracy"], other["eval/heldout/accuracy"]) == (0.5, None)
    assert row["continuation_selection_bits_per_byte"] == 3.0
    assert list(row) == list(other)
    swept_keys = ["train.selection_batches", "train.also_evaluate", "seed", "optimizer.peak_rate"]
    assert swept([row, other]) == swept_keys
