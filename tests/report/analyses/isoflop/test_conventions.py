"""C counted by other conventions: the exponents that follow."""

import pytest

from lm_lab.report import stored
from lm_lab.report.analyses.isoflop import conventions, results


@pytest.fixture(scope="module")
def rows(sweep):
    return stored.read(sweep).rows


@pytest.fixture(scope="module")
def analysis(rows):
    return results.analyse_column(rows, "params", results.Settings(held_out_budget=3e12, draws=20))


def test_a_convention_that_all_runs_have_is_fitted_to_its_own_flops(rows, analysis):
    for row in rows:
        row["flops_6N_matmul"] = None if row["flops"] is None else row["flops"] / 1.15
        row["flops_palm"] = None if row is rows[0] else row["flops"]
    fitted = []

    def analyse(counted):
        fitted.append([row["flops"] for row in counted])
        return analysis

    found = conventions.refits(rows, analysis, analyse)
    assert [each.convention for each in found] == ["counted", "6N_matmul"]  # one run lacks PaLM's
    assert fitted == [[row["flops_6N_matmul"] for row in rows]]
    assert found[0].approach_3 == analysis.frontier("approach 3").exponent_params
    table = conventions.table(found)
    assert [str(row[0])[:5] for row in table.rows] == ["every", "6 N, "]


def test_rows_of_early_sweeps_have_no_table(rows, analysis):
    bare = [{key: value for key, value in row.items() if key[:6] != "flops_"} for row in rows]
    assert conventions.refits(bare, analysis, lambda counted: analysis) == ()
