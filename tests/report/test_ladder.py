"""The ladder of a sweep: its best runs, and how they are shown."""

import json

import numpy as np

from lm_lab.report import ladder
from lm_lab.report.marks import hits
from lm_lab.report.page import Figure, Table
from lm_lab.report.stored import read
from lm_lab.report.style import applied
from tests.report.conftest import write_sweep


def test_the_best_settings_of_every_budget_are_its_ladder(tmp_path):
    write_sweep(tmp_path, curves=False)
    sweep = read(tmp_path)
    rungs = ladder.best_runs(sweep.measured)
    rows = {row["name"]: row for row in sweep.measured}
    assert sorted(rungs) == [1e11, 3e11, 1e12, 3e12]
    for budget, names in rungs.items():
        assert sorted(rows[name]["seed"] for name in names) == [0, 1]
        of_best = np.mean([rows[name]["loss"] for name in names])
        single = [row["loss"] for row in sweep.measured if row["budget_flops"] == budget]
        # no mean of two seeds is below the lowest single run, and the best is near it
        assert min(single) <= of_best < 1.03 * min(single)
    assert ladder.blocks({"decoder": rungs}, sweep) == []


def test_a_ladder_is_shown_with_its_residual_and_noise(tmp_path):
    write_sweep(tmp_path, curves=False)
    sweep, x = read(tmp_path), np.linspace(0.02, 1, 50)
    rungs = ladder.best_runs(sweep.measured)
    for budget, names in rungs.items():
        for seed, name in enumerate(names):
            loss = 0.5 + (2e5 / budget**0.5 + 1) * (x**-0.3 + 1) * (1 + 0.01 * seed)
            lines = [
                json.dumps({"step": step, "flops": budget * part, "train/nll": nll})
                for step, (part, nll) in enumerate(zip(x, loss), 1)
            ]
            (tmp_path / "runs" / name / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    figure, table = ladder.blocks({"decoder": rungs}, sweep)
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert table.rows[0][3] == "below"
    with applied():
        [axes] = (drawing := figure.draw()).axes
    assert "(seeds 0.7" in axes.get_title()  # 1 % / sqrt(2), of two values 1 % apart
    assert len(axes.lines) == 8  # a curve a rung, and where it begins
    assert {hit.runs for hit in hits(drawing)} == {tuple(names) for names in rungs.values()}
    rungs[3e12] = ["none"]  # a run without a curve
    _, table = ladder.blocks({"decoder": rungs}, sweep)
    assert table.rows[0][3] == "below; 6 of 7 runs have a curve"
    (table,) = ladder.blocks({"decoder": {3e11: rungs[3e11], 3e12: ["none"]}}, sweep)
    assert table.rows[0][3] == "1 rung; a collapse needs two; 2 of 3 runs have a curve"
