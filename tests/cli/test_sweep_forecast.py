"""A study is judged before it runs; its forecast outlives a kill before the held-out runs."""

import json
import signal
from pathlib import Path

import pytest

from lm_lab.cli import plan, sweep
from lm_lab.library.counting import Columns, count_configs, count_here
from lm_lab.library.designs import resolver
from lm_lab.runs.sweep import Planned, read_sweep
from lm_lab.sweeps.store import plan as planned_of
from lm_lab.sweeps.study import load
from tests.cli.cli_helpers import CONFIG, killed_at

HELD = 3e9
STUDY = (
    CONFIG
    + """

from lm_lab.sweeps.algebra import param, product
from lm_lab.sweeps.study import Study

def study():
    config = get_config()
    del config.train.steps
    budgets = param("train.budget_flops", [3e8, 1e9, 3e9])
    sweep = product(budgets, param("model.width", [4, 8, 16]))
    analysis = {"kind": "isoflop", "held_out_budget": 3e9, "draws": 20}
    return Study("tiny", "Does it hold?", config, sweep, analysis)
"""
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forecast") / "study.py"
    path.write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def planned(study: Path) -> tuple[list[Planned], dict[str, Columns]]:
    found = load(study)
    runs = planned_of(found, resolver(found, set()))
    return runs, count_here(runs)


def test_one_count_of_a_step_serves_every_budget(planned):
    runs, sizes = planned
    alone = [count_configs([run.config])[0] for run in runs[::4]]
    assert [sizes[run.name] for run in runs[::4]] == alone


def finish(directory: Path, run: Planned, size: Columns) -> None:
    """What a worker leaves of a run, on a known surface."""
    loss = 1.0 + 20 * size["params"] ** -0.35 + 30 * size["tokens"] ** -0.36
    params = {"matmul": size["params"], "matmul_body": 1, "total": size["params"]}
    result = {
        "status": "complete",
        "steps": 10,
        "seconds": 1.0,
        "params": params,
        "tokens": size["tokens"],
        "flops": size["flops"],
        "final": {"eval/heldout/nll": loss, "eval/heldout/bits_per_byte": loss / 0.69},
    }
    place = directory / "runs" / run.name
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps(result))


@pytest.mark.processes
@pytest.mark.usefixtures("unsaved")
def test_a_launch_killed_after_registering_keeps_its_forecast(tmp_path, study, planned, capsys):
    runs, sizes = planned
    held = [run for run in runs if run.config["train"]["budget_flops"] == HELD]
    for run in runs:
        if run not in held:
            finish(tmp_path, run, sizes[run.name])
    where = ("sweep", study, f"--workdir={tmp_path}")
    ended = killed_at("SIGKILL", "lm_lab.sweeps.forecasts.describe", 1, *where)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (registered,) = read_sweep(tmp_path).forecasts
    assert not any((tmp_path / "runs" / run.name).exists() for run in held)
    for run in held:
        finish(tmp_path, run, sizes[run.name])
    assert sweep.run([str(study), f"--workdir={tmp_path}"]) == 0
    assert read_sweep(tmp_path).forecasts == [registered]
    page = (tmp_path / "report.html").read_text()
    assert "before any held-out run began" in page
    assert registered.seal in page
    assert "outside the interval" in page or "inside the interval" in page
    assert "9 complete" in capsys.readouterr().out


def test_the_design_of_a_study_is_judged_before_it_runs(study, capsys):
    assert plan.run([str(study), "--budget_flops=2e9", "--noise=0.001"]) == 0
    printed = capsys.readouterr().out
    assert "tiny: 9 runs" in printed
    assert "3e+09 held out      3" in printed
    assert "two fitted budgets: nothing checks the exponent" in printed
    assert "runs that would tell most of the exponent for 2e+09 FLOPs more" in printed
