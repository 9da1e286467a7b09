"""A sweep directory is read as it was written, or its fault is named in one line."""

import json

import pytest

from lm_lab.runs.sweep import (
    Planned,
    SweepRecord,
    read_sweep,
    read_table,
    write_sweep,
    write_table,
)
from lm_lab.types import UserError

RUN = {"name": "a", "overrides": {}, "config": {}}
STUDY = {"name": "s", "runs": [RUN], "created": "then"}


def test_a_sweep_comes_back_as_it_was_written(tmp_path):
    run = Planned("0123", {"seed": 1}, {"seed": 1, "model": {"width": 16}})
    sweep = SweepRecord(name="s", question="Why?", runs=[run], created="then", command="lm-lab")
    write_sweep(tmp_path, sweep)
    assert read_sweep(tmp_path) == sweep


def test_a_table_comes_back_as_it_was_written(tmp_path):
    rows = [
        {"name": "012345678901", "loss": 0.1 + 0.2, "params": 100, "tied": True, "message": None},
        {"name": "e", "loss": None, "params": None, "tied": None, "message": None},
    ]
    write_table(tmp_path, rows)
    read = read_table(tmp_path)
    assert read == [{**row, "message": ""} for row in rows]
    assert [type(value) for value in read[0].values()] == [str, float, int, bool, str]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{half", "no JSON"),
        ("[" * 100_000, "no JSON .maximum recursion depth"),
        ("[]", "a JSON object is expected"),
        (json.dumps({"name": "s", "runs": []}), "created is absent"),
        (json.dumps({**STUDY, "runs": 3}), "runs is 3"),
        (json.dumps({**STUDY, "analysis": None}), "analysis is null"),
        (json.dumps({**STUDY, "runs": [RUN, {}]}), "run 2 .* is none"),
        (json.dumps({**STUDY, "runs": [{**RUN, "name": "../a"}]}), r"run 1 \('../a'\) is none"),
        (json.dumps({**STUDY, "runs": [{**RUN, "config": []}]}), "run 1 .* is none"),
    ],
)
def test_a_damaged_sweep_is_to_be_restored(tmp_path, content, fault):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(
        UserError, match=rf"sweep\.json: .*{fault}.*; restore the file from a copy$"
    ) as error:
        read_sweep(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"name,status\na,complete", "cut short"),
        (b"status\ncomplete\n", "a row has no name"),
        (b"name,status\n\xff\n", "not a table"),
    ],
)
def test_a_damaged_table_is_to_be_written_anew(tmp_path, content, fault):
    (tmp_path / "results.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"results\.csv: {fault}.*; launch lm-lab sweep again"):
        read_table(tmp_path)


def test_what_is_absent_is_said(tmp_path):
    with pytest.raises(UserError, match=r"no sweep\.json here; .* lm-lab sweep"):
        read_sweep(tmp_path)
    with pytest.raises(UserError, match=r"no results\.csv here; finish it with lm-lab sweep"):
        read_table(tmp_path)
