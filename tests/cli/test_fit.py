"""lm-lab fit: any table, by the names of its columns; a faulty one gives one line."""

import json
import re

import numpy as np
import pytest

from lm_lab import registry
from lm_lab.cli.main import dispatch
from lm_lab.cli.wrapping import WIDTH
from lm_lab.library.laws import FORMS
from lm_lab.types import UserError


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three budgets of five sizes on a surface, two batch sizes each, with an odd name and a task's
    metric.
    """
    lines = ["Model Size (M),tokens_b,batch,Val Loss,hellaswag_acc"]
    for flops in (1e17, 1e18, 1e19):
        best = np.sqrt(flops / 120)
        for ratio in (0.3, 0.55, 1.0, 1.8, 3.3):
            size, tokens = best * ratio, flops / 6 / (best * ratio)
            loss = 1.8 + 450 / size**0.35 + 1800 / tokens**0.36
            for batch, cost in ((64, 1.01), (128, 1.0)):
                lines.append(f"{size / 1e6},{tokens / 1e9},{batch},{loss * cost},{1 / loss}")
    path = tmp_path_factory.mktemp("fit") / "<b>odd.csv"
    path.write_text("\n".join(lines))
    return path


def fit(*words):
    return dispatch(["fit", "--resamples=30", *map(str, words)])


def test_a_table_gets_the_law_and_the_report_of_a_study(table, tmp_path, capsys):
    assert fit(table, f"--workdir={tmp_path / 'out'}") == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if "report: " not in line) <= 100
    assert "column 'Model Size (M)', in M: times 1e+06" in " ".join(out.split())
    assert "assumed C = 6 N D" in out
    assert re.search(r"alpha +0\.35", out)
    page = (tmp_path / "out/report.html").read_text()
    assert "<b>odd" not in page
    assert "batch=128" in page  # the best is named
    record = json.loads((tmp_path / "out/analysis.json").read_text())
    assert record["analysis"]["surface"]["E"]["value"] == pytest.approx(1.8, abs=1e-3)
    assert (tmp_path / "out/results.csv").read_text().count("\n") == 31
    assert (tmp_path / "out/figures/valleys.png").is_file()
    metrics = (tmp_path / "out/figures/task_metrics.csv").read_text()
    assert "held-out loss (nats per token),hellaswag_acc" in metrics


def test_a_law_of_one_input_is_drawn_as_a_curve(table, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(table.read_text())
    columns = "--columns=accuracy=hellaswag_acc"
    words = ["--law=accuracy_compute", columns, "--rows=batch=64", f"--workdir={tmp_path / 'out'}"]
    assert fit(path, *words) == 0
    drawn = (tmp_path / "out/figures/law.csv").read_text()
    assert drawn.count("observed") == 15
    assert drawn.count(",law,") == 200


def test_a_law_of_another_form_has_its_parameters_and_report(table, tmp_path, capsys):
    assert fit(table, "--law=chinchilla", f"--workdir={tmp_path / 'out'}") == 0
    out = capsys.readouterr().out
    assert "arXiv:2203.15556" in out
    assert "best of several settings" in " ".join(out.split())
    assert (tmp_path / "out/figures/predictions.png").is_file()


def test_help_lists_every_law_with_its_source(capsys):
    assert dispatch(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    for name in registry.names(FORMS):
        assert re.search(rf"^  {name} .*(\n {{8,}}.*)?arXiv:", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name one table"),
        (["none.csv"], "no such file"),
        (["TABLE", "--law=chinchila"], "did you mean 'chinchilla'"),
        (["TABLE", "--columns=params"], "must be NAME=VALUE"),
        (["TABLE", "--columns=parms=N"], "did you mean 'params'"),
        (["TABLE", "--columns=params=size"], "no column 'size'"),
        (["TABLE", "--columns=params=batch,params=batch"], "params is given twice"),
        (["TABLE", "--columns=params=Model Size (M):miles"], "is no unit of params"),
        (["TABLE", "--rows=batch=96"], "no row has batch=96"),
        (["TABLE", "--rows=seed=1"], "no column 'seed'"),
        (["TABLE", "--law=chinchilla", "--level=2"], "level"),
        (["TABLE", "--resamples=5"], "resamples must be at least 20"),
        (["TABLE", "--predictor=gut"], "predictor"),
        (["TABLE", "--law=routing"], "no column is known as"),
        (["TABLE", "--law=chinchilla", "--held_out_budget=1e18"], "held_out_budget is read with"),
    ],
)
def test_a_wrong_command_is_one_line(words, message, table):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        fit(*[str(table) if word == "TABLE" else word for word in words])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("law", "message"),
    [("isoflop", "approach 3: 1 budget; a surface needs two"), ("chinchilla", "1 point; 5 param")],
)
def test_a_table_too_poor_for_any_answer_is_an_error(law, message, tmp_path, capsys):
    path = tmp_path / "one.csv"
    path.write_text("N,D,loss\n1e8,2e9,3.5\n")
    with pytest.raises(UserError, match=message):
        fit(path, f"--law={law}")
    assert "column 'N'" in capsys.readouterr().out
