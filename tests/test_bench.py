"""tools/bench: parts in turns, one record and one table, also where a part fails."""

import json
import sys
from types import SimpleNamespace

import pytest

from tools.benchmarks import loop
from tools.benchmarks import main as bench
from tools.benchmarks.results import Row, rates
from tools.benchmarks.turns import alternate


def test_sides_take_turns_whose_order_reverses_and_ratios_are_of_one_round():
    order, clocks = [], {"lm_lab": iter([9.0, 1.0, 2.0, 4.0]), "other": iter([9.0, 3.0, 4.0, 4.0])}

    def turn(name):
        return lambda: order.append(name) or next(clocks[name])

    seconds = alternate({name: turn(name) for name in clocks}, 3)
    assert "".join(name[0] for name in order[2:]) == "loollo"
    (row,) = rates("decoder", "tokens/s", 8.0, "lm_lab", seconds)
    assert (row.ours, row.theirs) == (4.0, 2.0)
    assert row.ratio == (2.0, 1.0, 3.0)


def test_a_part_that_fails_keeps_no_other_from_the_record(tmp_path, monkeypatch, capsys):
    def part(*rows):
        def run(flags):
            yield from rows
            if not rows:
                raise ZeroDivisionError

        return SimpleNamespace(add_flags=lambda parser: None, run=run)

    modules = {
        "whole": part(Row("a", "s", 1234.5), Row("b", "s", 2.0, "it", 3.0, [1.5])),
        "bad": part(),
    }
    monkeypatch.setattr(bench, "PARTS", tuple(modules))
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: modules[name.split(".")[-1]])
    monkeypatch.setattr(sys, "argv", ["bench", f"--out={tmp_path}/b"])
    assert bench.main() == 1
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["failed"] == ["bad"]
    assert record["rows"][1]["ratio"] == {"median": 1.5, "least": 1.5, "most": 1.5}
    assert record["machine"]["cores"] > 0
    assert "| whole | b | 2 | it | 3 | 1.50 [1.50, 1.50] | s |" in (tmp_path / "b.md").read_text()
    monkeypatch.setattr(sys, "argv", ["bench", "wohle"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "no part 'wohle'; give some of whole, bad" in capsys.readouterr().err


def test_the_device_waits_between_programs_and_not_between_their_operations():
    def event(name, begin, end, run_id=None):
        stats = [] if run_id is None else [("hlo_op", name), ("run_id", run_id)]
        return SimpleNamespace(
            name=name, start_ns=begin * 1e9, duration_ns=(end - begin) * 1e9, stats=stats
        )

    calls = [event(loop.CALL, begin, begin) for begin in (0, 1, 4, 9)]
    ran = [(0.2, 0.9, 7), (3.0, 3.5, 8), (1.5, 2.0, 8), (4.5, 6.0, 9), (5.0, 5.1, 10)]
    operations = [event("dot", *span) for span in ran]
    planes = [SimpleNamespace(lines=[SimpleNamespace(events=each)]) for each in (calls, operations)]
    trace = loop.read(SimpleNamespace(planes=planes), skipped=1)
    assert trace.calls.tolist() == [0, 3, 8]  # seconds from the second call on
    assert trace.programs.tolist() == [[0.5, 2.5], [3.5, 5.0], [4.0, pytest.approx(4.1)]]
    assert trace.waits.tolist() == [1.0, 0.0]
