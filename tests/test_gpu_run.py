"""tools/gpu/run at tiny sizes on a CPU, so that a GPU's minutes find no typing errors.

The parts `population` and `study` start programs that take a minute: of these the plan of work is
looked at, and what is read from what they leave. `tools/gpu/run PART --rehearse` runs them whole.
"""

import json
import sys
from pathlib import Path

import pytest

from lm_lab.compute.conventions import Geometry
from tools.benchmarks.results import ROOT, Row
from tools.gpu import checks, decoder, families, memory, population, program, study
from tools.gpu import main as gpu
from tools.gpu.job import Job, Setting


def setting(tmp_path: Path, rehearse: bool = True) -> Setting:
    return Setting(rehearse, tmp_path)


def named(module, setting: Setting) -> list[str]:
    return [job.name for job in module.jobs(setting)]


def rows_by_unit(rows) -> dict[str, Row]:
    return {row.unit: row for row in rows}


def test_a_record_keeps_what_was_measured_and_names_what_failed_and_what_was_left_out(tmp_path):
    path, seen = tmp_path / "part.json", []

    def good(left):
        yield Row("a", "s", 2.0, "it", 1.0, [0.5])
        seen.append(json.loads(path.read_text()))  # as a kill would find it
        yield Row("b", "s", 3.0)

    def bad(left):
        raise MemoryError("no room")

    jobs = [Job("good", good), Job("bad", bad), Job("late", good)]
    spent = iter([0.0, 0.0, 7.0, 7.0, 17.0, 531.0])  # 9 s are left, where `bad` took 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu.time, "monotonic", lambda: next(spent))
        record = gpu.run(jobs, 540.0, {"part": "part"}, path)
    assert [row["name"] for row in seen[0]["rows"]] == ["a"]
    assert seen[0]["left_out"] == ["good", "bad", "late"]
    assert json.loads(path.read_text()) == record
    assert [(row["job"], row["ours"]) for row in record["rows"]] == [("good", 2.0), ("good", 3.0)]
    assert (record["failed"], record["left_out"]) == ({"bad": "MemoryError: no room"}, ["late"])


@pytest.mark.skipif(gpu.jax.default_backend() == "gpu", reason="is about machines without one")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path, capsys, monkeypatch):
    for name in ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(name, "")  # set for the part, and as before after this test
    assert gpu.main(["decoder", f"--out={tmp_path}/out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("no GPU here: JAX has found a cpu;")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["checks", "--rehearse", "--only=nothing"])
    assert "--only=nothing names no job of checks: tests/nn/" in capsys.readouterr().err


def test_every_part_has_jobs_that_are_named_apart(tmp_path):
    for name, part in gpu.PARTS.items():
        for rehearse in (False, True):
            names = [job.name for job in part.jobs(setting(tmp_path, rehearse))]
            assert len({*names}) == len(names) > 0, name
    assert len(named(memory, setting(tmp_path, rehearse=False))) == 4 * 3 * 2
    # the sizes that have a bar come before those between them
    first = named(population, setting(tmp_path, rehearse=False))[:4]
    assert [name.split(",")[0] for name in first] == ["width 192"] * 2 + ["width 640"] * 2


def test_utilisation_is_of_the_dense_peak():
    # 124.3M parameters at 468k tokens a second: llm.c says 41 % of 989 TFLOP/s on an H100
    shape = Geometry(124_337_664, 0, 1024, 12, 12, 64)
    share = program.mfu("NVIDIA H100 80GB HBM3", 468e3, shape)
    assert share == pytest.approx((6 * 124_337_664 + 12 * 12 * 768 * 1024) * 468e3 / 989.5e12)
    assert share == pytest.approx(0.41, abs=0.01)
    assert program.mfu("cpu", 468e3, shape) is None


def test_rows_are_halved_until_there_is_room():
    asked = []

    def measured(rows):
        asked.append(rows)
        if rows > 3:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return program.Speed(1, [1.0], 1.0, [1.0], 1.0)

    assert program.that_fits(measured, 12)[0] == 3
    assert asked == [12, 6, 3]
    with pytest.raises(RuntimeError, match="EXHAUSTED"):
        program.that_fits(lambda rows: measured(9), 2)


def test_the_decoders_and_their_memory(tmp_path):
    (tiny,) = decoder.TINY
    found = rows_by_unit(decoder.speed(tiny, True, 60.0))
    assert found["tokens/s"].ours > 0
    assert found["tokens/s"].theirs == tiny.tokens
    assert "2 rows, 35,488 parameters" in found["tokens/s"].name
    said = memory.show(tiny, 2, "none", True)
    assert said["planned_bytes"] > 4 * 3 * 35_488  # parameters and two moments
    bytes_, seconds = memory.rows_of("tiny", said | {"shown_bytes": said["planned_bytes"]}, {})
    assert bytes_.ratio == (1, 1, 1)
    assert seconds.ours == pytest.approx(seconds.theirs)  # the first cell sets the pace


def test_the_lstm(tmp_path):
    (row,) = next(job for job in families.jobs(setting(tmp_path)) if "LSTM" in job.name).work(60.0)
    assert row.unit == "ms"
    assert row.ratio is not None
    assert row.ours == pytest.approx(families.LSTM_BAR / row.ratio[0])  # of the middle call


def test_a_report_of_pytest_is_counted(tmp_path):
    report = tmp_path / "report.xml"
    cases = ("", '<failure message="1 != 2"/>', "<error/>", "<skipped/>", "")
    inside = "".join(
        f'<testcase classname="tests.t" name="n{index}">{case}</testcase>'
        for index, case in enumerate(cases)
    )
    report.write_text(f"<testsuites><testsuite>{inside}</testsuite></testsuites>")
    found = {row.name: row.ours for row in checks.read(report)}
    assert found == {
        "passed": 2,
        "failed": 2,
        "skipped": 1,
        "failed: tests.t::n1: 1 != 2": 1,
        "failed: tests.t::n2: ": 1,
    }
    for file in checks.FILES:  # each has tests to run there
        assert "@pytest.mark.gpu" in (ROOT / file).read_text(), file
    path, _, name = checks.ONE.partition("::")
    assert f"@pytest.mark.gpu\ndef {name}(" in (ROOT / path).read_text()


def test_the_study_is_read_and_kept(tmp_path):
    words = study.command(setting(tmp_path, rehearse=False), tmp_path / "study")
    assert words[:4] == [sys.executable, "-m", "lm_lab", "sweep"]
    assert words[4:] == ["experiments/isoflop_demo:grown", f"--workdir={tmp_path}/study"]
    folder = tmp_path / "study"
    for name, status in (("a", "complete"), ("b", "diverged")):
        (folder / "runs" / name).mkdir(parents=True)
        result = {"status": status, "flops": 2e14, "seconds": 3.0}
        (folder / "runs" / name / "result.json").write_text(json.dumps(result))
    forecast = {"target": "lowest loss", "predictor": "surface", "predicted": 1.5}
    (folder / "sweep.json").write_text(json.dumps({"forecasts": [{"forecast": forecast}]}))
    assert [row.ours for row in study.found(folder)] == [1, 2e14, 3.0, 1.5]
    (folder / "figures").mkdir()
    for name in ("report.html", "figures/valleys.png", "figures/valleys.csv"):
        (folder / name).touch()
    study.keep(folder, tmp_path / "kept")
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {"report.html", "sweep.json", "valleys.png"}


def test_the_grown_study_has_a_gpus_budgets():
    from lm_lab.sweeps.study import load

    grown = load("experiments/isoflop_demo:grown")
    budgets = [point["train.budget_flops"] for point in grown.sweep]
    assert (min(budgets), max(budgets), len(budgets)) == (1e14, 3e16, 17)
