"""What a sweep directory holds is read as it was written, or named in one line."""

import json

import pytest

from lm_lab.report import stored
from lm_lab.runs.sweep import read_table, write_table
from lm_lab.types import UserError
from lm_lab.values import table_value

RUN = {"name": "a", "overrides": {}, "config": {}}
STUDY = json.dumps({"name": "s", "runs": [RUN], "created": "then"})


def test_rows_come_back_as_the_values_that_they_were(sweep):
    read = stored.read(sweep)
    first = read.rows[0]
    assert first["name"] == "000000000000"  # digits only, and still a name
    assert isinstance(first["params"], int)
    assert isinstance(first["loss"], float)
    assert read.rows[4]["loss"] is None
    assert len(read.finished) + len(read.unfinished) == len(read.rows) == 144
    assert read.overrides == ["model.width", "optimizer.peak_rate", "seed", "train.budget_flops"]
    assert read.results["000000000004"]["status"] == "diverged"
    assert set(read.curves) == {row["name"] for row in read.finished}


def test_a_run_without_a_budget_has_its_own_flops():
    assert stored.budget({"budget_flops": None, "flops": 2e11}) == 2e11
    assert stored.budget({"budget_flops": 1e11, "flops": 2e11}) == 1e11


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path, caplog):
    _sweep(tmp_path, "name,status\na,complete\n")
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    assert stored.read(tmp_path).curves == {"a": [{"step": 1}]}
    (run / "metrics.jsonl").write_text('{"st\n{"step": 1}\n')
    assert stored.read(tmp_path).curves == {"a": [{"step": 1}]}
    assert "metrics.jsonl, line 1: not a record" in caplog.text


def test_a_study_in_another_order_reads_the_rows_that_are_there(tmp_path):
    study = {"name": "s", "runs": [RUN | {"name": "b"}, RUN], "created": "then"}
    (tmp_path / "sweep.json").write_text(json.dumps(study))
    (tmp_path / "results.csv").write_text("name,status\na,failed\nb,complete\n")
    assert [row["name"] for row in stored.read(tmp_path).rows] == ["b", "a"]


@pytest.mark.parametrize(
    ("study", "rows", "words"),
    [
        (None, None, "no sweep.json here"),
        (STUDY, None, "no results.csv here"),
        ("{", "name,status\n", "sweep.json: no JSON"),
        (STUDY, "name,status\nb,complete\n", "not the runs of sweep.json"),
        (STUDY, "name,status\na,failed\n", "none of the 1 runs is complete"),
    ],
)
def test_a_directory_without_results_is_one_line(tmp_path, study, rows, words):
    for name, content in (("sweep.json", study), ("results.csv", rows)):
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as error:
        stored.read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def _sweep(directory, rows):
    (directory / "sweep.json").write_text(STUDY)
    (directory / "results.csv").write_text(rows)


@pytest.mark.parametrize("content", ["", "[1]", '{"status": "complete"}'])
def test_a_damaged_result_is_one_line(tmp_path, content):
    _sweep(tmp_path, "name,status\na,complete\n")
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "result.json").write_text(content)
    with pytest.raises(
        UserError, match=r"result.json: .*; launch lm-lab sweep again to write it anew"
    ):
        _ = stored.read(tmp_path).results


@pytest.mark.parametrize("version", [1, 2])
def test_an_arm_that_names_a_choice_has_its_runs_in_a_table_of_any_release(tmp_path, version):
    arm = {"model.block": "mamba", "model.depth": 6}
    study = {
        **({} if version == 1 else {"version": version}),
        "name": "s",
        "created": "then",
        "analysis": {"arms": {"mamba": arm}},
        "runs": [
            {"name": name, "overrides": {**arm, "model.block": name}, "config": {}}
            for name in ("mamba", "rg_lru")
        ],
    }
    (tmp_path / "sweep.json").write_text(json.dumps(study))
    table = "name,status,model.block,model.depth\n"
    table += "".join(f"{name},complete,{name},6\n" for name in ("mamba", "rg_lru"))
    (tmp_path / "results.csv").write_text(table)
    read = stored.read(tmp_path)
    assert list(read.rows[0])[2:] == read.overrides
    (arms,) = read.study.analysis["arms"].values()
    assert stored.sharing(arms, read.rows) == read.rows[:1]


def test_runs_are_known_by_a_sequence_as_it_is_written_and_as_it_is_read(tmp_path):
    kept, none = {"train.keep_steps": (80, 160)}, {"train.keep_steps": []}
    rows = [{"name": str(i), **each} for i, each in enumerate([kept, none])]
    write_table(tmp_path, [{key: table_value(row[key]) for key in row} for row in rows])
    read = read_table(tmp_path, kept)
    for number, overrides in enumerate([kept, none]):
        assert [row["name"] for row in stored.sharing(overrides, read)] == [str(number)]
