"""The report as a whole: written from stored results alone, self-contained, honest, the same bytes
each time.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

import lm_lab
from lm_lab.cli.report import print_report
from lm_lab.report import curves, stored, write
from lm_lab.report.page import escape
from lm_lab.runs.trust import trusting
from lm_lab.types import UserError
from tests.report.conftest import write_sweep

FEW = {"kind": "isoflop", "draws": 20}


@pytest.fixture(scope="session")
def page(report: Path) -> str:
    return (report / "report.html").read_text(encoding="utf-8")


NAMES = [
    *("valleys", "allocation", "tokens_per_param", "frontier", "reducible", "contour"),
    *("one_at_a_time", "predicted_observed", "residuals", "sensitivity", "bootstrap_pairs"),
    *("rates", "rate_optimum", "curves", "collapse"),
]
OPENINGS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "csv": b"panel,across,up,series,"}


def test_every_figure_is_shown_and_saved_with_its_numbers(report, page):
    for name in NAMES:
        for kind, opening in OPENINGS.items():
            assert (report / "figures" / f"{name}.{kind}").read_bytes().startswith(opening), name
    assert page.count('<img src="data:image/svg+xml;base64,') == len(NAMES)


def test_the_page_needs_no_network(page):
    assert not re.search(r"""(src|href)=["'](?!data:|figures/|#)""", page)
    assert not re.search(r"<link|@import|url\(|https?://", page)


def test_the_answer_is_printed_as_the_page_has_it(report, page, capsys):
    print_report(report / "report.html")
    *paragraphs, last = capsys.readouterr().out.split("\n\n")
    assert last == f"report: {report / 'report.html'}\n"
    assert paragraphs
    assert [text for text in paragraphs if escape(text.replace("\n", " ")) not in page] == []


def test_the_planted_exponent_is_in_the_answer(report, page):
    analysis = json.loads((report / "analysis.json").read_text())["analysis"]
    three = next(
        frontier for frontier in analysis["frontiers"] if frontier["method"] == "approach 3"
    )
    exponent = three["exponent_params"]
    assert exponent["low"] - 0.02 < 0.39 / (0.32 + 0.39) < exponent["high"] + 0.02
    answer = page[page.index("<h2>Answer</h2>") : page.index('<dl class="numbers">')]
    assert f"C<sup>{exponent['value']:.2f}</sup>" in answer
    assert "held out" in answer
    assert "counted otherwise" in answer


def test_runs_without_a_result_are_named_with_their_messages(page):
    section = page[page.index("Runs that did not finish") : page.index("Every run")]
    assert "000000000004" in section
    assert "loss is nan at step 412" in section
    assert "worker was killed by signal 9 &lt;out of memory&gt;" in section


def test_conventions_command_and_versions_stand_in_the_page(page):
    for words in (
        "6N_matmul",
        "lm-lab sweep experiments/isoflop_demo",
        "lm-lab report DIR",
        "0.10.2",
    ):
        assert words in page


def test_losses_of_bytes_are_a_byte(report, page):
    assert "nats per byte" in page
    assert "loss (nats/byte)" in page
    assert "s.d. (nats/byte)" in page
    assert not re.search("nats (per|a) token|nats/token", page)
    read = stored.read(report)
    assert read.unit == "byte"
    lines = curves.budget_lines([(row["name"], row["budget_flops"]) for row in read.finished], None)
    drawing = curves.draw(lines, read.curves, read.unit)
    assert drawing.axes[0].get_ylabel() == "training loss (nats per byte)"
    assert lm_lab.fit(report, resamples=20).table.unit == "byte"
    assert lm_lab.fit(report / "results.csv", resamples=20).table.unit == "token"  # says nothing
    read.study.runs[-1].config["data"]["tokenizer"]["name"] = "words"
    assert stored.Sweep(report, read.study, read.rows).unit == "token"


def test_the_same_results_give_the_same_page(unsaved, sweep, tmp_path):
    kept = []
    for name in ("one", "other"):
        shutil.copytree(sweep, tmp_path / name)
        write(tmp_path / name)
        kept.append({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")})
    assert {"report.html", "analysis.json", "valleys.csv"} <= set(kept[0])
    assert kept[0] == kept[1]


def test_figures_of_an_earlier_report_go_and_what_the_user_put_beside_them_stays(unsaved, tmp_path):
    write_sweep(tmp_path, budgets=[1e11, 3e11], rates=[1.0], seeds=1, analysis=FEW)
    page = write(tmp_path)
    own, old = tmp_path / "figures" / "mine.png", tmp_path / "figures" / "older.csv"
    for path in (own, old):
        path.write_text("x")
    linked = '<a href="figures/older.csv">CSV</a> <a href="figures/../results.csv">CSV</a>'
    page.write_text(page.read_text(encoding="utf-8") + linked, encoding="utf-8")
    write(tmp_path)
    assert own.exists()
    assert not old.exists()
    assert (tmp_path / "results.csv").exists()  # a link out of the folder is followed by none
    assert (tmp_path / "figures" / "valleys.csv").exists()


def test_what_users_write_cannot_become_markup(unsaved, tmp_path):
    evil = "<script>alert('x')</script>"
    write_sweep(
        tmp_path,
        budgets=[1e11],
        sizes=[1.0],
        rates=[1.0],
        seeds=3,
        question=evil,
        message=evil,
        name=evil,
    )
    page = write(tmp_path).read_text(encoding="utf-8")
    assert evil not in page
    assert page.count("&lt;script&gt;") >= 3
    assert page.count("<script>") == 1  # the page's own, which sorts the table


def test_two_points_are_a_refusal_not_a_law_and_not_a_crash(unsaved, tmp_path):
    write_sweep(tmp_path, budgets=[1e11], sizes=[0.8, 1.25], rates=[1.0], seeds=3, analysis=FEW)
    page = write(tmp_path).read_text(encoding="utf-8")
    assert "do not determine how compute should be split" in page
    assert "What cannot be concluded" in page
    assert "Refused: too few" in page
    assert "exponent of N*" not in page


def test_budgets_that_do_not_bracket_their_optimum_are_said_to(unsaved, tmp_path):
    write_sweep(
        tmp_path,
        budgets=[1e11, 3e11],
        sizes=[2.0, 3.0, 4.5, 6.0],
        rates=[1.0],
        seeds=2,
        analysis=FEW,
    )
    page = write(tmp_path).read_text(encoding="utf-8")
    assert "Refused: vertex outside the data" in page


def test_a_sweep_without_budgets_rates_or_curves_still_reports(unsaved, tmp_path):
    write_sweep(tmp_path, budgets=[1e11, 3e11], rates=[1.0], seeds=1, curves=False, analysis=FEW)
    for kept in ("sweep.json", "results.csv"):
        text = (tmp_path / kept).read_text()
        (tmp_path / kept).write_text(
            text.replace("train.budget_flops", "train.steps").replace("budget_flops", "unused")
        )
    shutil.rmtree(tmp_path / "runs")
    assert write(tmp_path).is_file()
    assert not (tmp_path / "figures" / "curves.csv").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "isoflops"}, "did you mean 'isoflop'"),
        ({}, "analysis.kind is missing"),
        ({"kind": "isoflop", "bootstraps": 3}, "analysis.bootstraps does not exist"),
        ({"kind": "isoflop", "level": 2.0}, "analysis.level must be at most"),
        ({"kind": "no_such_package.analysis"}, "put its package on PYTHONPATH"),
        ({"kind": "my_lab.analysis"}, "give --trust=my_lab"),
    ],
)
def test_a_wrong_analysis_is_one_line(sweep, tmp_path, change, words):
    study = json.loads((sweep / "sweep.json").read_text()) | {"analysis": change}
    (tmp_path / "sweep.json").write_text(json.dumps(study))
    shutil.copy(sweep / "results.csv", tmp_path)
    with pytest.raises(UserError, match=re.escape(words)) as error, trusting(["no_such_package"]):
        write(tmp_path)
    assert "\n" not in str(error.value)


def test_an_analysis_may_live_in_an_outside_package(sweep, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "outside")
    study = json.loads((sweep / "sweep.json").read_text())
    study |= {"analysis": {"kind": "my_lab.least", "show": 2}}
    (tmp_path / "sweep.json").write_text(json.dumps(study))
    shutil.copy(sweep / "results.csv", tmp_path)
    with trusting(["my_lab"]):
        page = write(tmp_path).read_text(encoding="utf-8")
    results = json.loads((tmp_path / "analysis.json").read_text())
    assert results["losses"] == sorted(results["losses"])
    assert f"Least is {results['names'][0]}, with {results['losses'][0]:.3f} nats." in page
