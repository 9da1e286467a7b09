"""Results of several sweeps as one typed table, in Parquet, in data frames and in SQL."""

import os
import shutil

import pytest
from pyarrow import parquet

from lm_lab.runs.sweep import read_sweep, read_table, run_directory
from lm_lab.sweeps import tables
from lm_lab.sweeps.launch import plan, refresh
from lm_lab.sweeps.store import write
from lm_lab.types import UserError
from tests.sweeps.test_results import RESULT, resolve, store, study_of


@pytest.fixture
def folder(tmp_path):
    """Two sweeps, of one and two runs; one run is complete."""
    points = {"a": [{"seed": 1, "schedule": "wsd"}], "b": [{"train.steps": 5}, {"train.steps": 6}]}
    for name, overrides in points.items():
        (tmp_path / name).mkdir()
        study = study_of(overrides)
        write(tmp_path / name, study, plan(study, resolve), {"command": ""})
    store(tmp_path / "b", read_sweep(tmp_path / "b").runs[1], RESULT)
    return tmp_path


def test_rows_have_the_columns_of_all_sweeps(folder):
    rows = tables.results(folder)
    assert [(row["sweep"], row["seed"], row["train.steps"]) for row in rows] == [
        ("a", 1, None),
        ("b", None, 5),
        ("b", None, 6),
    ]
    assert [row["loss"] for row in rows] == [None, None, 2.5]
    assert tables.results(folder / "b") == [
        {key: row[key] for key in tables.results(folder / "b")[0]} for row in rows[1:]
    ]
    with pytest.raises(UserError, match=r"no sweep\.json here"):
        tables.results(folder / "a" / "runs")


def test_columns_have_types(folder):
    rows = tables.results(folder)
    rows[0]["train.steps"] = "many"  # a column of numbers and words is one of words
    table = tables.arrow(rows)
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert (types["seed"], types["loss"], types["schedule"]) == ("int64", "double", "string")
    assert (types["train.steps"], types["message"]) == ("string", "string")
    assert table["train.steps"].to_pylist() == ["many", "5", "6"]


def test_the_parquet_file_has_the_rows(folder):
    rows = tables.results(folder)
    tables.write_parquet(folder, rows)
    assert parquet.read_table(folder / tables.PARQUET).to_pylist() == rows


def test_data_frames_take_the_rows(folder):
    rows = tables.results(folder)
    assert list(pytest.importorskip("pandas").DataFrame(rows)["sweep"]) == ["a", "b", "b"]
    assert pytest.importorskip("polars").DataFrame(rows)["loss"].to_list() == [None, None, 2.5]


def test_sql_is_asked_of_the_runs(folder):
    pytest.importorskip("duckdb")
    found = tables.query(
        tables.results(folder), 'select sweep, max("train.steps") from runs group by 1 order by 1'
    )
    assert found.fetchall() == [("a", None), ("b", 6)]
    with pytest.raises(UserError, match="DuckDB refuses 'select loss from run': Catalog Error"):
        tables.query(tables.results(folder), "select loss from run")
    with pytest.raises(UserError, match="Catalog Error: Table with name results does not exist"):
        tables.query(tables.results(folder), "select * from results")  # which is a function here


def test_a_report_asked_for_meanwhile_has_the_runs_that_have_ended(folder):
    sweep, table = folder / "b", folder / "b" / "results.csv"
    refresh(sweep)
    assert [row["loss"] for row in read_table(sweep)] == [None, 2.5]
    before = table.stat()
    refresh(sweep)
    assert table.stat().st_mtime_ns == before.st_mtime_ns  # nothing has ended since
    first = read_sweep(sweep).runs[0]
    store(sweep, first, RESULT)
    os.utime(run_directory(sweep, first.name) / "result.json", ns=(2 * before.st_mtime_ns,) * 2)
    refresh(sweep)
    assert [row["loss"] for row in read_table(sweep)] == [2.5, 2.5]
    shutil.rmtree(sweep / "runs")  # what is gone from the disk stays in the table
    refresh(sweep)
    assert [row["loss"] for row in read_table(sweep)] == [2.5, 2.5]
