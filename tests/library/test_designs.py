"""The runs of a study that has not begun, with what they would cost."""

import dataclasses

from lm_lab.library.designs import describe_runs
from lm_lab.library.pace import Pace
from lm_lab.sweeps.algebra import param, product
from lm_lab.sweeps.study import Study
from tests import tiny

ROWS = tiny.resolve()[0].train.batch_size


def test_every_run_is_listed_with_its_cost_and_none_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(
        name="lengths",
        question="?",
        base=tiny.config(),
        sweep=product(param("train.steps", [5, 10]), param("seed", [0]), param("mesh.data", [1])),
        analysis={
            "kind": "curves",
            "metric": "loss",
            "against": "train.steps",
            "arms": {"all": {}},
        },
    )
    header, five, ten, total = describe_runs(study, lambda dtype: Pace(1e6, dtype))
    assert header.split("  ")[0] == "run"
    cells = [line.split() for line in (five, ten)]
    assert header.split()[-1] == "steps"
    assert [row[-1] for row in cells] == ["5", "10"]
    assert [int(row[2].replace(",", "")) for row in cells] == [
        5 * tiny.LENGTH * ROWS,
        10 * tiny.LENGTH * ROWS,
    ]
    flops = [float(row[3]) for row in cells]
    assert total.startswith("lengths: 2 runs, ")
    assert total.endswith("(float32)")
    assert abs(float(total.split(", ")[1].split()[0]) - sum(flops)) < 0.01 * sum(flops)
    assert list(tmp_path.iterdir()) == []
    assert "unknown of one device" in describe_runs(study, lambda _: Pace(None, "?"))[-1]
    fourteen = {"train.steps": None, "train.budget_flops": 1.4 * flops[1]}
    fourteen |= {"train.steps_per_call": 10}
    *_, caution, total = describe_runs(
        dataclasses.replace(study, sweep=[fourteen], analysis={"kind": "isoflop"}),
        lambda dtype: Pace(1e6, dtype),
    )
    assert caution.startswith("caution: 1 of 1 runs miss their budget, by up to 29%, ")
